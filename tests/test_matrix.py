"""The matrix: what a file may say, and the cells that it stands for."""

from __future__ import annotations

import inspect
import random
import re
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import matrix as matrix_module
from benchmarks.catalog import Catalog
from benchmarks.cells import Cell
from benchmarks.matrix import (
    Filters,
    Matrix,
    built_in_matrices,
    expand,
    load,
    parse,
    parse_filter,
    sweep_rates,
)
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.models import models

CATALOG = Catalog()

GOOD = """
models = ["alexnet", "vgg16"]
devices = ["raspberry-pi-4b", "jetson-tk1"]
servers = "tesla-p100"
links = ["3g", "wifi"]
methods = ["all_local", "neurosurgeon"]
"""


def parsed(text: str) -> Matrix:
    return parse(text, Path("my.toml"))


def cells(text: str, *further: Filters) -> list[Cell]:
    return expand(parsed(text), CATALOG, *further)


def without(line: str) -> str:
    return "\n".join(kept for kept in GOOD.splitlines() if not kept.startswith(line))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("devices", "devcies"), "unknown field 'devcies'; did you mean 'devices'?"),
        (GOOD + "seed = 3", "unknown field 'seed'; did you mean 'seeds'"),
        (without("servers"), "field 'servers' is missing"),
        (without("links"), "give links, or a rate_sweep"),
        (GOOD.replace('["alexnet", "vgg16"]', "[]"), "models"),
        (GOOD + 'seeds = ["one"]', "seeds.0 is 'one'"),
        (GOOD + "seeds = [-1]", "seeds.0 is -1"),
        (GOOD + "seeds = [true]", "seeds.0 is True"),
        (GOOD + "seeds = []", "seeds is empty"),
        (GOOD + "snrs_db = [nan]", "snrs_db.0 is nan"),
        (GOOD + "max_accuracy_loss = 1.5", "max_accuracy_loss.0 is 1.5"),
        (GOOD + "rate_sweep = {start_bps = 1e3, stop_bps = 1e6}", "'rate_sweep.points' is missing"),
        (
            GOOD + "rate_sweep = {start_bps = 1e3, stop_bps = 1e6, poinst = 5}",
            "unknown field 'rate_sweep.poinst'; did you mean 'points'",
        ),
        (
            GOOD + "rate_sweep = {start_bps = -1.0, stop_bps = 1e6, points = 5}",
            "rate_sweep.start_bps is -1.0",
        ),
        (
            GOOD + "rate_sweep = {start_bps = 1e6, stop_bps = 1e3, points = 5}",
            "stop_bps 1000 is below start_bps 1e+06",
        ),
        (
            GOOD + "rate_sweep = {start_bps = 1e3, stop_bps = 1e6, points = 5, scale = 'lin'}",
            "'log' or 'linear'",
        ),
        (
            GOOD + "rate_sweep = {start_bps = 1e6, stop_bps = 1000000.0001, points = 500}",
            "coincide",
        ),
        (GOOD + "include = [{metod = 'all_local'}]", "'metod'; did you mean 'method'"),
        (GOOD + "include = [{seed = true}]", "include.0.seed.0 is True: allowed is text or a num"),
        (GOOD + "include = 3", "include.0 is 3; allowed is a table, such as { method = "),
        (GOOD + "include = {}", "a filter that asks for nothing; give a table such as { method = "),
        (
            GOOD + "exclude = [{method = []}]",
            "a filter that asks for nothing; give a table such as",
        ),
        (GOOD + "rate_sweep = 3", "rate_sweep is 3; allowed is a table"),
        (GOOD + "seeds = [1.5]", "seeds.0 is 1.5; allowed is a whole number"),
        (GOOD + "seeds = [9223372036854775808]", "seeds.0 is 9223372036854775808"),
        (GOOD + "description = 1", "description is 1; allowed is text"),
        (
            GOOD + "rate_sweep = {start_bps = 1e3, stop_bps = 1e6, points = 1000001}",
            "rate_sweep.points is 1000001",
        ),
        ("models = [", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(CoinferError) as caught:
        parsed(text)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert "matrix 'my.toml'" in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("alexnet", "alexnett", "unknown model 'alexnett'; did you mean 'alexnet'"),
        ("jetson-tk1", "jetson-tk", "unknown device 'jetson-tk'; did you mean 'jetson-tk1"),
        ("tesla-p100", "tesla-p10", "unknown server 'tesla-p10'; did you mean 'tesla-p100"),
        ("wifi", "wify", "unknown link 'wify'; did you mean 'wifi"),
        ("all_local", "al_local", "unknown method 'al_local'; did you mean 'all_local'"),
    ],
)
def test_an_unknown_name_offers_the_nearest(old: str, new: str, said: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        cells(GOOD.replace(old, new))
    assert said in str(caught.value)


def test_an_unknown_convention_or_matrix_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'qho2024'"):
        cells(GOOD + "convention = 'qho2025'")
    with pytest.raises(UnknownNameError, match="did you mean 'demo'"):
        load("dmeo")
    with pytest.raises(CoinferError, match="no matrix file"):
        load(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CoinferError, match="cannot read matrix"):
        load(tmp_path / "binary.toml")


def test_a_device_without_flops_is_refused_before_anything_runs() -> None:
    with pytest.raises(CoinferError, match="no FLOP/s is published"):
        cells(GOOD.replace("jetson-tk1", "raspberry-pi-3b+@cia2021"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("jetson-tk1", "raspberry-pi-3b+@cia2021"),
        ("jetson-tk1", "custom"),
        ("tesla-p100", "custom"),
        ("wifi", "rate"),
        ("wifi", "radio"),
        ("wifi", "radio-1mhz"),
        ("wifi", "bsc"),
    ],
)
def test_what_is_said_to_be_given_can_be_given_in_a_matrix(old: str, new: str) -> None:
    with pytest.raises(CoinferError) as error:
        cells(GOOD.replace(old, new))
    assert "--" not in str(error.value)  # a matrix has no options
    hint = re.search(r"'([^']*\[\w+=)(\S+)\]'", str(error.value))
    if hint is None:
        assert "has no snrs_db" in str(error.value)
        return
    number = "0.01" if hint[2] == "0.01" else "1e6"
    mended = GOOD.replace(old, f"{hint[1]}{number}]") + "snrs_db = 10"
    assert len(cells(mended)) == len(cells(GOOD))


def test_the_example_of_the_module_is_a_matrix() -> None:
    doc = inspect.getdoc(matrix_module)
    assert doc is not None
    text = "\n".join(line for line in doc.splitlines() if line.startswith("    "))
    shown = parsed(dedent(text))
    assert shown.filters.include
    assert shown.filters.exclude
    found = cells(dedent(text))
    assert {cell.method for cell in found} == {"all_local", "neurosurgeon"}
    assert all(cell.link.startswith("rate") or cell.link == "3g" for cell in found)


def test_every_shipped_matrix_expands() -> None:
    found = built_in_matrices()
    assert {"demo", "rates"} <= set(found)
    for name, path in found.items():
        matrix = load(name)
        assert matrix == load(path)
        assert matrix.description
        members = expand(matrix, CATALOG)
        assert len(set(members)) == len(members) > 0
    assert len(expand(load("rates"), CATALOG)) == 100_000


def test_the_full_matrix_leaves_nothing_out_that_has_its_numbers() -> None:
    full, presets = load("full"), CATALOG.presets
    assert set(full.models) == set(models())
    fast = {name for name, one in presets.devices.items() if one.flops_per_s is not None}
    assert {presets.find("device", name).name for name in full.devices} == fast
    links = {presets.find("link", name.partition("[")[0]).name for name in full.links}
    assert links == set(presets.links) - {"rate", "radio"}
    assert full.methods == (
        *("all_local", "all_server", "neurosurgeon", "prune_partition", "two_step_pruning"),
        *("fpgm", "bottlenet++", "cia", "three_step", "cpcdrl", "qho"),
    )


def test_cells_are_the_product_of_the_axes() -> None:
    expected = {
        Cell(model, method, device, "tesla-p100", link)
        for model, method, device, link in product(
            ("alexnet", "vgg16"),
            ("all_local", "neurosurgeon"),
            ("raspberry-pi-4b", "jetson-tk1"),
            ("3g", "wifi"),
        )
    }
    found = cells(GOOD)
    assert set(found) == expected
    assert len(found) == len(expected)


SPELLINGS = {
    "models": [["alexnet"], ["vgg16"]],
    "devices": [
        ["raspberry-pi-4b", "raspberry-pi-4b@qho2024", "raspberry-pi-4b[flops_per_s=3e9]"],
        ["jetson-tk1", "jetson-tk1@qho2024"],
        ["custom[flops_per_s=5e9]", "custom[flops_per_s=5000000000]"],
    ],
    "links": [
        ["3g", "3g@qho2024", "3g[round_trip_s=0]"],
        ["rate[rate_bps=1e6,round_trip_s=0.1]", "rate[round_trip_s=0.1, rate_bps=1000000.0]"],
    ],
    "methods": [
        ["all_local"],
        ["neurosurgeon", "neurosurgeon[objective=latency]", 'neurosurgeon[objective="latency"]'],
    ],
}


@given(seed=st.integers(0, 2**32), repeats=st.integers(1, 3))
def test_order_spelling_and_repetition_change_nothing(seed: int, repeats: int) -> None:
    def axis(name: str, draw: random.Random) -> tuple[str, ...]:
        chosen = [draw.choice(same) for same in SPELLINGS[name] for _ in range(repeats)]
        draw.shuffle(chosen)
        return tuple(chosen)

    def matrix(draw: random.Random) -> Matrix:
        return Matrix(
            name="m",
            models=axis("models", draw),
            devices=axis("devices", draw),
            servers=("tesla-p100",) * repeats,
            links=axis("links", draw),
            methods=axis("methods", draw),
            seeds=tuple(draw.sample(range(3), 3)),
        )

    plain = Matrix(
        "m",
        *(tuple(same[0] for same in SPELLINGS[name]) for name in ("models", "devices")),
        ("tesla-p100",),
        *(tuple(same[0] for same in SPELLINGS[name]) for name in ("links", "methods")),
    )
    assert expand(matrix(random.Random(seed)), CATALOG) == expand(plain, CATALOG)


def test_snrs_collapse_on_links_that_have_their_rate() -> None:
    text = GOOD.replace('["3g", "wifi"]', '["3g", "radio-1mhz"]') + "snrs_db = [0, 10, 20]"
    found = {(cell.link, cell.snr_db) for cell in cells(text)}
    radio = {link for link, _ in found} - {"3g"}
    assert len(radio) == 1
    assert found == {("3g", None), *((link, snr) for link in radio for snr in (0.0, 10.0, 20.0))}


def test_a_radio_needs_snrs() -> None:
    with pytest.raises(CoinferError, match="needs an SNR, and matrix 'my' has no snrs_db"):
        cells(GOOD.replace('"wifi"', '"radio-1mhz"'))


def test_seeds_collapse_for_methods_without_randomness() -> None:
    assert cells(GOOD + "seeds = [0, 1, 2]") == cells(GOOD)


def test_one_value_is_as_good_as_a_list() -> None:
    single = GOOD + "convention = 'qho2024'\nmax_accuracy_loss = 0.01\nsnrs_db = 3\nseeds = 1"
    listed = GOOD + (
        "convention = ['qho2024']\nmax_accuracy_loss = [0.01]\nsnrs_db = [3.0]\nseeds = [1]"
    )
    assert parsed(single) == parsed(listed)


def test_several_conventions_and_floors_are_axes() -> None:
    text = GOOD + "convention = ['qho2024', 'harmonised']\nmax_accuracy_loss = [0.01, 0.02]"
    assert len(cells(text)) == 4 * len(cells(GOOD))


@given(
    start=st.floats(1, 1e9),
    ratio=st.floats(1.01, 1e6),
    points=st.integers(2, 200),
)
def test_a_logarithmic_sweep_has_equal_ratios(start: float, ratio: float, points: int) -> None:
    rates = sweep_rates(start, start * ratio, points)
    assert len(rates) == points
    assert rates[0] == pytest.approx(start, rel=1e-8)
    assert rates[-1] == pytest.approx(start * ratio, rel=1e-8)
    step = ratio ** (1 / (points - 1))
    for low, high in pairwise(rates):
        assert high / low == pytest.approx(step, rel=1e-7)


def test_a_linear_sweep_has_equal_steps_and_a_single_point_is_the_start() -> None:
    assert sweep_rates(1e6, 5e6, 5, "linear") == (1e6, 2e6, 3e6, 4e6, 5e6)
    assert sweep_rates(1e6, 5e6, 1) == (1e6,)


def test_a_sweep_makes_links_beside_the_named_ones() -> None:
    text = GOOD + "rate_sweep = {start_bps = 1e6, stop_bps = 4e6, points = 3}"
    links = {cell.link for cell in cells(text)}
    rates = {"rate[rate_bps=1000000.0]", "rate[rate_bps=2000000.0]", "rate[rate_bps=4000000.0]"}
    assert links == {"3g", "wifi", *rates}


FILTERS = [
    ("method=all_local", lambda c: c.method == "all_local"),
    ("method=neurosurgeon", lambda c: c.method.startswith("neurosurgeon")),
    ("method=neurosurgeon[objective=latency]", lambda c: c.method == "neurosurgeon"),
    ("method=neurosurgeon[objective=*]", lambda c: c.method == "neurosurgeon[objective=energy]"),
    ("device=raspberry*", lambda c: c.device.startswith("raspberry")),
    ("device=raspberry-pi-4b@qho2024", lambda c: c.device == "raspberry-pi-4b"),
    ("link=3g,model=vgg16", lambda c: (c.link, c.model) == ("3g", "vgg16")),
    ("link=3g,link=wifi", lambda c: c.link in ("3g", "wifi")),
    ("link=rate[rate_bps=1e6]", lambda c: c.link == "rate[rate_bps=1000000.0]"),
    ("link=r?te", lambda c: c.link.startswith("rate")),
    ("snr_db=none", lambda c: c.snr_db is None),
    ("snr_db=10", lambda c: c.snr_db == 10.0),
    ("seed=0", lambda c: c.seed == 0),
    ("max_accuracy_loss=0.02", lambda c: c.max_accuracy_loss == 0.02),
]
WIDE = """
models = ["alexnet", "vgg16"]
devices = ["raspberry-pi-4b", "jetson-tk1"]
servers = "tesla-p100"
links = ["3g", "wifi", "rate[rate_bps=1e6]", "rate[rate_bps=2e6]", "radio-1mhz"]
snrs_db = [0.0, 10.0]
methods = ["all_local", "neurosurgeon", "neurosurgeon[objective=energy]"]
"""


@pytest.mark.parametrize(("text", "wanted"), FILTERS)
def test_filters_take_and_leave_what_they_name(text: str, wanted) -> None:  # type: ignore[no-untyped-def]
    everything = cells(WIDE)
    only = [cell for cell in everything if wanted(cell)]
    rest = [cell for cell in everything if not wanted(cell)]
    assert only
    assert cells(WIDE, Filters(include=(parse_filter(text),))) == only
    if rest:
        assert cells(WIDE, Filters(exclude=(parse_filter(text),))) == rest


@given(
    st.lists(st.sampled_from(FILTERS), max_size=3), st.lists(st.sampled_from(FILTERS), max_size=2)
)
def test_includes_add_up_and_excludes_win(include, exclude) -> None:  # type: ignore[no-untyped-def]
    everything = cells(WIDE)
    expected = [
        cell
        for cell in everything
        if (not include or any(wanted(cell) for _, wanted in include))
        and not any(wanted(cell) for _, wanted in exclude)
    ]
    filters = Filters(
        tuple(parse_filter(text) for text, _ in include),
        tuple(parse_filter(text) for text, _ in exclude),
    )
    if expected:
        assert cells(WIDE, filters) == expected
    else:
        with pytest.raises(CoinferError, match="leave no cell"):
            cells(WIDE, filters)


def test_filters_of_the_file_hold_beside_those_given() -> None:
    text = WIDE + (
        "include = [{method = 'all_local'}, {method = 'neurosurgeon', model = ['vgg16', 'a*']}]\n"
        "exclude = {snr_db = 10}"
    )
    found = cells(text, Filters(include=(parse_filter("link=radio*"),)))
    assert {cell.snr_db for cell in found} == {0.0}
    assert {cell.link.partition("@")[0] for cell in found} == {"radio-1mhz"}
    assert len(found) == 2 * 2 * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method=neurosurgoen", "matches no cell; did you mean 'neurosurgeon'"),
        ("snr_db=11", "filter snr_db=11 matches no cell"),
        ("metod=x", "unknown filter field 'metod'; did you mean 'method'"),
        ("method", "not of the form field=pattern"),
        ("method=", "not of the form field=pattern"),
        ("", "not of the form field=pattern"),
    ],
)
def test_a_filter_that_finds_nothing_is_a_mistake(text: str, said: str) -> None:
    with pytest.raises(CoinferError) as caught:
        cells(WIDE, Filters(include=(parse_filter(text),)))
    assert said in str(caught.value)


def test_preset_files_lie_beside_the_matrix(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        '[devices.toaster]\nflops_per_s = 1e6\nsource = "my kitchen"\n', encoding="utf-8"
    )
    (tmp_path / "m.toml").write_text(
        GOOD.replace("jetson-tk1", "toaster") + "presets = 'mine.toml'", encoding="utf-8"
    )
    matrix = load(tmp_path / "m.toml")
    assert matrix.preset_files == (str(tmp_path / "mine.toml"),)
    found = expand(matrix, Catalog((), matrix.preset_files))
    assert {cell.device for cell in found} == {"raspberry-pi-4b", "toaster"}


def test_the_name_defaults_to_the_file_name() -> None:
    assert parsed(GOOD).name == "my"
    assert parsed(GOOD + "name = 'other'") == replace(parsed(GOOD), name="other")
