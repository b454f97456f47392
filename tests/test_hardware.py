"""Presets against the papers' tables, their lookup, and the rates of radios and channels."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinfer import hardware, presets
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.hardware import Link, Processor
from coinfer.presets import Kind, Presets, built_in_presets, load_presets

# Typed from the papers, not from the preset files: FLOP/s, TOPS and GB of memory.
DEVICES = {
    "raspberry-pi-3b+@qho2024": (0.2e9, None, None),
    "raspberry-pi-4b@qho2024": (3e9, None, None),
    "jetson-tk1@qho2024": (326.4e9, None, None),
    "raspberry-pi-3@threestep2020": (24e9, None, 1),
    "cpcdrl-edge@cpcdrl2024": (500e6, None, None),
    "raspberry-pi-3b+@cia2021": (None, None, None),
    "honor-8-lite@cia2021": (None, None, None),
    "jetson-agx-xavier@survey": (None, 32, 32),
    "jetson-xavier-nx@survey": (None, 21, 8),
    "jetson-tx2-4gb@survey": (1.33e12, None, 4),
    "jetson-tx2@survey": (1.33e12, None, 8),
    "jetson-tx2i@survey": (1.26e12, None, 8),
    "jetson-tx1@survey": (1e12, None, 4),
    "jetson-nano@survey": (0.47e12, None, 4),
    "edge-tpu@survey": (4e12, None, None),
    "raspberry-pi-4b@survey": (13.5e9, None, 4),
    "honor-magic3@survey": (None, 26, 8),
    "iphone-13@survey": (None, 15.8, 4),
    "huawei-mate40@survey": (None, None, 8),
    "google-pixel6@survey": (None, None, 8),
    "google-glass-ee2@survey": (None, None, 3),
}
SERVERS = {
    "tesla-p100@qho2024": (10600e9, None, None),
    "rtx-2080-ti@threestep2020": (13.45e12, None, 11),
    "cpcdrl-cloud@cpcdrl2024": (5e9, None, None),
    "gtx-1080-ti@cia2021": (None, None, None),
    "v100@survey": (112e12, None, 32),
    "a100@survey": (78e12, None, 40),
    "rtx-3090@survey": (35.58e12, None, 24),
    "titan-rtx@survey": (32.62e12, None, 24),
    "rtx-3080@survey": (29.77e12, None, 10),
    "rtx-2080-ti@survey": (26.9e12, None, 11),
}
RATES_MBPS = {
    "3g@qho2024": 1.19,
    "4g@qho2024": 11.22,
    "5g@qho2024": 52.24,
    "wifi@qho2024": 54.19,
    "200-kbyte-s@cpcdrl2024": 200e3 * 8 / 1e6,
}
RADIOS_HZ = {"radio-1mhz@qho2024": 1e6, "awgn-1mhz@threestep2020": 1e6}

KINDS: tuple[Kind, ...] = ("device", "server", "link")
EVERY = [(kind, name) for kind in KINDS for name in built_in_presets().of(kind)]


def one_line(error: pytest.ExceptionInfo[CoinferError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(("kind", "table"), [("device", DEVICES), ("server", SERVERS)])
def test_processors_are_those_of_the_papers(
    kind: Kind, table: dict[str, tuple[float | None, float | None, int | None]]
) -> None:
    presets = built_in_presets()
    assert set(presets.of(kind)) == {*table, "custom"}
    for name, (flops_per_s, tops, gigabytes) in table.items():
        found = presets.device(name) if kind == "device" else presets.server(name)
        assert found.name == name
        assert found.role == kind
        assert found.flops_per_s == flops_per_s
        assert found.tops == tops
        assert found.memory_bytes == (None if gigabytes is None else gigabytes * 10**9)


def test_links_are_those_of_the_papers() -> None:
    named = {*RATES_MBPS, *RADIOS_HZ, "bsc@threestep2020"}
    assert set(built_in_presets().links) == {*named, "rate", "radio"}
    for name, mbps in RATES_MBPS.items():
        assert presets.link(name).rate() == pytest.approx(mbps * 1e6, rel=1e-15)
    for name, hertz in RADIOS_HZ.items():
        assert presets.link(name).bandwidth_hz == hertz
    assert presets.link("bsc").uses_per_s == 1e6


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_preset_names_its_source(kind: Kind, name: str) -> None:
    preset = built_in_presets().of(kind)[name]
    generic = name in ("custom", "rate", "radio")
    assert (preset.source == "given by the user") == generic
    if not generic:
        assert any(word in preset.source for word in ("Table", "Fig.", "section"))


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_preset_without_a_number_says_so_and_how_to_give_one(kind: Kind, name: str) -> None:
    preset = built_in_presets().of(kind)[name]
    if kind == "link" or preset.flops_per_s is not None:
        return
    assert "number is required" in preset.note or "give flops_per_s" in preset.note
    made = preset.processor()
    with pytest.raises(CoinferError) as e:
        made.speed()
    published = "needs a FLOP/s number" if name == "custom" else "no FLOP/s is published"
    assert published in one_line(e)
    assert one_line(e).endswith(f"give one as '{name}[flops_per_s=...]'")
    assert ("TOPS are not FLOPS" in one_line(e)) == (made.tops is not None)
    assert preset.processor({"flops_per_s": 5}).speed() == 5.0


def test_our_own_choices_are_assumptions_until_the_user_decides() -> None:
    assert "our choice" in presets.link("radio-1mhz").assumption
    assert "our choice" in presets.link("bsc").assumption
    assert presets.link("radio-1mhz[round_trip_s=0.1]").assumption != ""
    assert presets.link("radio-1mhz[bandwidth_hz=2e6]").assumption == ""
    for published in (*RATES_MBPS, "awgn-1mhz"):
        assert presets.link(published).assumption == ""


def test_an_overridden_number_is_not_blamed_on_the_paper() -> None:
    changed = presets.device("raspberry-pi-3b+[flops_per_s=4e8]")
    assert changed.flops_per_s == 4e8
    assert changed.source.endswith("flops_per_s given by the user")
    assert changed.note == ""
    same = presets.device("raspberry-pi-3b+[flops_per_s=2e8]")
    assert same.note == presets.device("raspberry-pi-3b+").note != ""
    assert same.source == presets.device("raspberry-pi-3b+").source


def test_bare_names() -> None:
    assert presets.device("raspberry-pi-4b").flops_per_s == 3e9
    assert presets.device("raspberry-pi-3b+").flops_per_s == 0.2e9
    assert presets.server("rtx-2080-ti").flops_per_s == 13.45e12
    assert presets.device("jetson-nano").name == "jetson-nano@survey"
    for (kind, bare), alias in built_in_presets().aliases.items():
        assert alias.reason
        assert built_in_presets().find(kind, bare).name == alias.name


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_all_spellings_of_a_preset_have_one_canonical_text(kind: Kind, name: str) -> None:
    presets = built_in_presets()
    preset = presets.of(kind)[name]
    given = "".join(f"[{field}=0.25]" for field in preset.needs[:1])
    texts = {
        presets.canonical(kind, spelling + given)
        for spelling in presets.names(kind)
        if presets.find(kind, spelling) == preset
    }
    assert len(texts) == 1
    (text,) = texts
    assert presets.canonical(kind, text) == text
    assert text.partition("[")[0] == presets.spelling(preset)


def test_canonical_spelling_of_the_shared_board_is_its_bare_name() -> None:
    assert presets.canonical("device", "raspberry-pi-4b@qho2024") == "raspberry-pi-4b"
    assert presets.canonical("device", "raspberry-pi-4b@survey") == "raspberry-pi-4b@survey"
    assert presets.canonical("link", "rate[rate_bps=1000000]") == "rate[rate_bps=1000000.0]"
    assert presets.canonical("link", "3g[round_trip_s=0]") == "3g"


options = st.dictionaries(
    st.sampled_from(["rate_bps", "round_trip_s", "transmit_watts"]),
    st.sampled_from([0, 0.0, 0.5, 1, 1.0, 1e6, 1190000, 1.19e6]),
)


@given(options, options)
def test_refs_have_one_canonical_text_exactly_where_they_mean_one_link(
    first: dict[str, float], second: dict[str, float]
) -> None:
    def ref(given: dict[str, float], name: str) -> str:
        return f"{name}[{','.join(f'{key}={value}' for key, value in given.items())}]"

    one, other = ref(first, "3g"), ref(second, "3g@qho2024")
    same = presets.link(one) == presets.link(other)
    assert same == (presets.canonical("link", one) == presets.canonical("link", other))
    assert presets.link(presets.canonical("link", one)) == presets.link(one)


@pytest.mark.parametrize(
    ("kind", "ref", "parts"),
    [
        ("link", "3g[bandwidth_hz=1e6]", ["bandwidth_hz", "rate_bps, round_trip_s"]),
        ("link", "3g[rate_bps=fast]", ["rate_bps is 'fast'", "a number"]),
        ("link", "3g[rate_bps=true]", ["rate_bps is True", "a number"]),
        ("link", "3g[rate_bps=null]", ["rate_bps is None", "a number"]),
        ("link", "3g[rate_bps=-1]", ["rate_bps is -1.0", "a number >= 0"]),
        ("link", "3g[rate_bps=NaN]", ["rate_bps is nan", "a number >= 0"]),
        ("link", "3g[round_trip_s=-0.1]", ["round_trip_s is -0.1", "a number >= 0"]),
        ("link", "bsc[flip_probability=2]", ["flip_probability is 2.0", "0 to 1"]),
        ("link", "rate", ["'rate[rate_bps=...]'"]),
        ("link", "radio", ["'radio[bandwidth_hz=...]'"]),
        ("device", "raspberry-pi-4b[speed=1]", ["unknown field 'speed'", "flops_per_s"]),
        ("device", "raspberry-pi-4b[flops_per_s=0]", ["flops_per_s is 0.0", "a number > 0"]),
        ("device", "raspberry-pi-4b[memory_bytes=1.5]", ["memory_bytes", "a whole number"]),
        ("device", "raspberry-pi-4b[memory_bytes=inf]", ["memory_bytes", "a whole number"]),
        (
            "server",
            "tesla-p100[compute_watts=-1]",
            ["compute_watts is -1.0", "a finite number >= 0"],
        ),
    ],
)
def test_bad_refs_are_refused_in_one_line(kind: Kind, ref: str, parts: list[str]) -> None:
    with pytest.raises(CoinferError) as error:
        presets.canonical(kind, ref)
    assert all(part in one_line(error) for part in parts)


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("device", "raspbery-pi-4b", "'raspberry-pi-4b'"),
        ("device", "jetson", "'jetson-tk1'"),
        ("server", "p100", "'tesla-p100'"),
        ("link", "WiFi", "'wifi'"),
        ("server", "raspberry-pi-4b", "known:"),
    ],
)
def test_unknown_names_offer_the_nearest(kind: Kind, name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        built_in_presets().find(kind, name)
    assert f"unknown {kind} '{name}'" in one_line(error)
    assert near in one_line(error)


def test_numbers_without_a_json_spelling() -> None:
    assert presets.link("rate[rate_bps=inf]").rate() == math.inf
    assert presets.link("rate[rate_bps=0]").rate() == 0.0
    assert presets.link("rate[rate_bps=.5]").rate() == 0.5


# -- user-defined presets -------------------------------------------------------------------------

MINE = """
[devices.my-board]
flops_per_s = 7e9
compute_watts = 5

[devices."jetson-tk1@lab"]
flops_per_s = 1e11
source = "measured in our lab"

[links."lora@a"]
rate_bps = 300

[links."lora@b"]
bandwidth_hz = 125e3

[links.sensor]
capacity = "rate_bps"
round_trip_s = 0.2

[aliases.devices.board]
name = "my-board"
reason = "we only have one"
"""


@pytest.fixture
def mine(tmp_path: Path) -> Presets:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    return load_presets(path)


def test_a_users_file_adds_names(mine: Presets) -> None:
    board = mine.device("board")
    assert (board.name, board.flops_per_s, board.compute_watts) == ("my-board", 7e9, 5.0)
    assert board.source == "given by the user in mine.toml"
    assert (
        mine.canonical("device", "board[flops_per_s=1e9]") == "my-board[flops_per_s=1000000000.0]"
    )
    assert mine.link("sensor[rate_bps=10]").round_trip_s == 0.2
    assert mine.device("jetson-tk1@lab").source == "measured in our lab"
    assert mine.server("tesla-p100") == presets.server("tesla-p100")


def test_a_users_file_changes_no_name_that_was_there(mine: Presets) -> None:
    for kind in KINDS:
        for name in built_in_presets().names(kind):
            assert mine.find(kind, name) == built_in_presets().find(kind, name)
    assert mine.canonical("device", "jetson-tk1@qho2024") == "jetson-tk1"
    assert mine.canonical("device", "jetson-tk1@lab") == "jetson-tk1@lab"


def test_a_shared_bare_name_is_refused_with_the_qualified_ones(mine: Presets) -> None:
    with pytest.raises(CoinferError, match="name one of: lora@a, lora@b") as error:
        mine.link("lora")
    one_line(error)


def test_presets_survive_the_way_to_a_worker(mine: Presets) -> None:
    assert pickle.loads(pickle.dumps(mine)) == mine


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("devices = 3", ["devices is 3", "a table"]),
        ("[device.x]", ["unknown field 'device'", "devices, servers, links, aliases"]),
        ("[devices.x", ["not TOML"]),
        ("[devices.x]\nflops = 1", ["device 'x'", "unknown field 'flops'", "flops_per_s"]),
        ("[devices.x]\nflops_per_s = 'a'", ["flops_per_s is 'a'", "a number"]),
        ("[devices.x]\nflops_per_s = -1", ["flops_per_s is -1.0", "a number > 0"]),
        ("[devices.x]\nsource = 1", ["source is 1", "text"]),
        ("[devices]\nx = 1", ["device 'x' is 1", "a table"]),
        ("[devices.'x[a=1]']", ["device 'x[a=1]'", ", [ ] ="]),
        ("[devices.'a,b']", ["device 'a,b'", ", [ ] ="]),
        ("[devices.jetson-tk1]", ["device 'jetson-tk1' is already defined"]),
        ("[devices.'jetson-tk1@qho2024']", ["already defined"]),
        ("[links.x]", ["link 'x'", "exactly one of rate_bps, bandwidth_hz, uses_per_s"]),
        ("[links.x]\nrate_bps = 1\nbandwidth_hz = 1", ["exactly one of"]),
        ("[links.x]\ncapacity = 'rate'", ["exactly one of"]),
        ("[links.x]\nrate_bps = 1\nflip_probability = 0.1", ["goes with uses_per_s"]),
        ("[links.x]\nrate_bps = 1\nassumptions = {speed = 'a'}", ["unknown field 'speed'"]),
        ("[aliases.devices.x]\nname = 'y'\nreason = 'z'", ["unknown device 'y'"]),
        ("[aliases.devices.x]\nname = 'jetson-tk1@qho2024'", ["reason is empty"]),
        ("[aliases.links.3g]\nname = '4g@qho2024'\nreason = 'z'", ["already defined"]),
        ("[aliases.boards.x]", ["unknown field 'boards'"]),
    ],
)
def test_bad_files_are_refused_in_one_line(text: str, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CoinferError) as error:
        load_presets(path)
    assert "bad.toml" in one_line(error)
    assert all(part in one_line(error) for part in parts)


def test_unreadable_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CoinferError, match="cannot read presets"):
        load_presets(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CoinferError, match="not UTF-8"):
        load_presets(tmp_path / "binary.toml")


# -- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["flops_per_s", "memory_bytes", "tops", "compute_watts"])
@pytest.mark.parametrize("value", [-1, math.nan])
def test_processors_refuse_what_cannot_be(field: str, value: float) -> None:
    with pytest.raises(CoinferError, match=f"device 'x': {field} is {value!r}; allowed is"):
        Processor("x", "device", **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("watts", [math.inf, math.nan, -1.0])
def test_a_power_is_finite_so_that_energy_is_a_number(watts: float) -> None:
    with pytest.raises(CoinferError, match="compute_watts is .*; allowed is a finite number >= 0"):
        Processor("x", "device", 1.0, compute_watts=watts)
    with pytest.raises(CoinferError, match="transmit_watts is .*; allowed is a finite number >= 0"):
        Link("x", rate_bps=1.0, transmit_watts=watts)


@pytest.mark.parametrize(
    "numbers",
    [{}, {"rate_bps": 1.0, "bandwidth_hz": 1.0}, {"bandwidth_hz": 1.0, "uses_per_s": 1.0}],
)
def test_a_link_has_exactly_one_capacity(numbers: dict[str, float]) -> None:
    with pytest.raises(CoinferError, match="give exactly one of"):
        Link("x", **numbers)  # type: ignore[arg-type]


def test_the_rate_says_what_it_lacks() -> None:
    with pytest.raises(CoinferError, match="needs an SNR in dB, snr_db"):
        presets.link("awgn-1mhz").rate()
    with pytest.raises(CoinferError, match=r"flip_probability=0\.01"):
        presets.link("bsc").rate()
    assert presets.link("3g").rate(snr_db=10.0) == presets.link("3g").rate()


# -- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0.125, 1, 2, 5, 16, 50, 300])
def test_shannon_closed_forms(bits: float) -> None:
    snr_db = 10 * math.log10(2**bits - 1)
    assert hardware.shannon_rate_bps(1e6, snr_db) == pytest.approx(bits * 1e6, rel=1e-13)


@given(st.floats(-100, 300))
def test_shannon_is_the_textbook_formula(snr_db: float) -> None:
    expected = math.log1p(10 ** (snr_db / 10)) / math.log(2)
    assert hardware.shannon_rate_bps(3.0, snr_db) == pytest.approx(3 * expected, rel=1e-12)


def test_shannon_at_the_extremes() -> None:
    assert hardware.shannon_rate_bps(1.0, -300.0) == pytest.approx(1e-30 / math.log(2), rel=1e-12)
    assert hardware.shannon_rate_bps(1.0, 10000.0) == pytest.approx(1000 * math.log2(10), rel=1e-15)
    assert hardware.shannon_rate_bps(1.0, -math.inf) == 0.0
    assert hardware.shannon_rate_bps(1.0, math.inf) == math.inf
    assert hardware.shannon_rate_bps(0.0, math.inf) == 0.0
    assert hardware.shannon_rate_bps(math.inf, -math.inf) == 0.0
    with pytest.raises(CoinferError, match="snr_db is nan"):
        hardware.shannon_rate_bps(1.0, math.nan)


def test_shannon_is_finite_and_strictly_increasing() -> None:
    rates = [hardware.shannon_rate_bps(1e6, snr / 4) for snr in range(-1200, 40001)]
    assert all(0 < low < high < math.inf for low, high in pairwise(rates))


@given(st.floats(0, 1))
def test_a_binary_symmetric_channel_is_symmetric_and_bounded(p: float) -> None:
    rate = hardware.bsc_rate_bps(8.0, p)
    assert 0.0 <= rate <= 8.0
    assert rate == pytest.approx(hardware.bsc_rate_bps(8.0, 1.0 - p), abs=1e-12)


def test_binary_symmetric_closed_forms() -> None:
    assert [hardware.bsc_rate_bps(1e6, p) for p in (0.0, 0.5, 1.0)] == [1e6, 0.0, 1e6]
    # H2(1/4) = 2 - (3/4) log2 3
    expected = 1 - (2 - 0.75 * math.log2(3))
    assert hardware.bsc_rate_bps(1.0, 0.25) == pytest.approx(expected, rel=1e-14)
    assert presets.link("bsc[flip_probability=0.25]").rate() == pytest.approx(expected * 1e6)


@settings(deadline=None)
@given(st.lists(st.floats(0, 0.5), min_size=2, max_size=2, unique=True))
def test_more_flips_carry_no_more_bits(flips: list[float]) -> None:
    few, many = sorted(flips)
    assert hardware.bsc_rate_bps(1.0, few) >= hardware.bsc_rate_bps(1.0, many) - 1e-15


def test_looking_up_a_preset_imports_nothing_heavy() -> None:
    code = (
        "import sys; from coinfer import presets; presets.device('raspberry-pi-4b');"
        "heavy = {'torch', 'numpy', 'pydantic', 'cattrs', 'pandas'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
