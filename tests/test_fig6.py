"""Fig. 6: the same bytes from the same rows, and the paper's ratios from the real network."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from reproduce import fig6
from reproduce.cli import list_figures, reproduce, scorecard
from reproduce.draw import FORMATS, Bars, grouped_bars, house_style
from reproduce.facts import Facts
from reproduce.figures import figure
from reproduce.style import METHOD_STYLES
from tests.latencies import DEVICES, LINKS, METHODS, grid, timed

ROWS = grid(
    {
        (device, link, method): (i + 1) * 10.0**-j * (1 + k)
        for i, device in enumerate(DEVICES)
        for j, link in enumerate(LINKS)
        for k, method in enumerate(METHODS)
    }
)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    import matplotlib

    first, second = tmp_path / "first", tmp_path / "elsewhere"
    first.mkdir()
    second.mkdir()
    written = fig6.write(Facts.of(ROWS), first)
    # Neither the order of the rows nor the user's own settings matter.
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "other", "figure.dpi": 50}):
        fig6.write(Facts.of(ROWS[::-1]), second)
    assert {path.suffix for path in written} == {".svg", ".pdf", ".png", ".csv"}
    for path in written:
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_other_rows_give_other_bytes(tmp_path: Path) -> None:
    fig6.write(Facts.of(ROWS), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    fig6.write(Facts.of(grid({("jetson-tk1", "5g", "all_server"): 2.0})), tmp_path)
    assert all(path.read_bytes() != before[path.name] for path in tmp_path.iterdir())


def test_files_carry_no_clock_and_no_version(tmp_path: Path) -> None:
    fig6.write(Facts.of(ROWS), tmp_path)
    svg = (tmp_path / "fig6.svg").read_text()
    pdf = (tmp_path / "fig6.pdf").read_bytes()
    assert "<dc:date>" not in svg
    assert "Matplotlib v" not in svg
    for word in (b"CreationDate", b"Producer", b"Creator"):
        assert word not in pdf
    assert b"Software" not in (tmp_path / "fig6.png").read_bytes()


def test_the_data_behind_the_figure_read_back_exactly(tmp_path: Path) -> None:
    fig6.write(Facts.of(ROWS), tmp_path)
    with (tmp_path / "fig6.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    assert len(records) == len(ROWS) == 36
    by_cell = {(r.cell.device, r.cell.link, r.cell.method): r.result for r in ROWS}
    for record in records:
        result = by_cell[record["device"], record["link"], record["method"]]
        assert float(record["total_s"]) == result.latency["total_s"]
        assert float(record["uplink_s"]) == result.latency["uplink_s"]
        assert record["evidence"] == "analytic"
        assert record["convention"] == "qho2024"
        assert (record["cut_index"], record["cut_after"]) == ("3", "features.2")
    assert [record["panel"] for record in records] == ["a"] * 12 + ["b"] * 12 + ["c"] * 12
    assert {record["label"] for record in records} == {
        "All_Local", "All_Server", "Partition (Neurosurgeon)",
    }  # fmt: skip


def test_the_footnote_names_convention_evidence_and_the_hash_of_the_data(tmp_path: Path) -> None:
    fig6.write(Facts.of(ROWS), tmp_path)
    digest = hashlib.sha256((tmp_path / "fig6.csv").read_bytes()).hexdigest()
    note = fig6.footnote(fig6.points(Facts.of(ROWS)))
    assert digest[:12] in note
    assert "qho2024" in note
    assert "analytic" in note
    assert "no result" not in note


def test_a_cell_without_result_is_marked_never_left_out(tmp_path: Path) -> None:
    rows = [*ROWS[1:-1], timed("neurosurgeon", device="jetson-tk1", link="wifi",
                               status="failed", reason="it broke")]  # fmt: skip
    facts = Facts.of(rows)
    fig6.write(facts, tmp_path)
    with (tmp_path / "fig6.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    assert len(records) == 36
    assert "no row for all_local" in records[0]["status"]
    assert "failed: it broke" in records[-1]["status"]
    assert records[0]["total_s"] == ""
    assert "2 of 36 cells have no result" in fig6.footnote(fig6.points(facts))


def _axes(heights: tuple[tuple[float | None, ...], ...]):  # type: ignore[no-untyped-def]
    panel = Bars("(a)", ("3G", "4G"), heights)
    with house_style():
        drawn = grouped_bars([panel], list(METHOD_STYLES.values())[:2], "link", "time", "note")
    return drawn.axes[0]


def test_the_axis_is_logarithmic_only_where_the_range_asks_for_it() -> None:
    assert _axes(((1.0, 2.0), (3.0, 19.0))).get_yscale() == "linear"
    assert _axes(((1.0, 2.0), (3.0, 21.0))).get_yscale() == "log"


def test_every_result_is_a_bar_of_its_height_and_every_gap_is_written() -> None:
    axis = _axes(((1.0, None), (3.0, 2.0)))
    assert sorted(patch.get_height() for patch in axis.patches) == [1.0, 2.0, 3.0]
    assert sorted(text.get_text() for text in axis.texts) == ["1.0", "2.0", "3.0", "no result"]
    assert len(_axes(((None, None), (None, None))).patches) == 0


def test_the_values_over_the_bars_have_two_digits_and_no_exponent() -> None:
    axis = _axes(((12.4, 7.113), (0.0894, 0.00004358)))
    assert {text.get_text() for text in axis.texts} == {"12", "7.1", "0.089", "0.000044"}


def test_methods_differ_without_colour() -> None:
    styles = list(METHOD_STYLES.values())
    assert len({style.hatch for style in styles}) == len(styles)
    assert len({style.colour for style in styles}) == len(styles)


# The real thing: traced network, runner, store, figure, scorecard.


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("fig6")
    done = CliRunner().invoke(
        reproduce, ["fig6", "--out", str(folder)], catch_exceptions=False, standalone_mode=False
    )
    assert done.return_value == 0
    return folder, done.output


def _ratios(folder: Path) -> dict[tuple[str, str, str], float]:
    """All_Local and All_Server over Partition, straight from the CSV."""
    with (folder / "fig6.csv").open(newline="") as file:
        seconds = {
            (r["device"], r["link"], r["method"]): float(r["total_s"]) for r in csv.DictReader(file)
        }
    return {
        (device, link, slow): seconds[device, link, slow] / seconds[device, link, "neurosurgeon"]
        for device in DEVICES
        for link in LINKS
        for slow in ("all_local", "all_server")
    }


def test_six_of_the_eight_ratios_are_met_as_printed(reproduced: tuple[Path, str]) -> None:
    ratios = _ratios(reproduced[0])
    fast = ("4g", "5g", "wifi")
    weak = [ratios["raspberry-pi-3b+", link, "all_local"] for link in fast]
    strong = [ratios["jetson-tk1", link, "all_server"] for link in LINKS]
    assert ratios["raspberry-pi-3b+", "3g", "all_local"] == pytest.approx(3.7, rel=0.05)
    assert ratios["raspberry-pi-3b+", "3g", "all_server"] == pytest.approx(2.0, rel=0.05)
    assert min(weak) == pytest.approx(8.5, rel=0.05)
    assert max(weak) == pytest.approx(9.7, rel=0.05)
    assert max(strong) == pytest.approx(35, rel=0.05)
    assert min(strong) == pytest.approx(13, rel=0.05)


def test_the_pi_4b_fails_at_3g_and_holds_elsewhere(reproduced: tuple[Path, str]) -> None:
    ratios = _ratios(reproduced[0])
    both = ("all_local", "all_server")
    fast = [ratios["raspberry-pi-4b", link, m] for link in ("4g", "5g", "wifi") for m in both]
    assert max(fast) == pytest.approx(6.4, rel=0.05)
    assert min(fast) == pytest.approx(1.2, rel=0.05)
    assert ratios["raspberry-pi-4b", "3g", "all_local"] < 1.0
    assert ratios["raspberry-pi-4b", "3g", "all_server"] > 6.4 * 1.05


def test_the_scorecard_says_so(reproduced: tuple[Path, str]) -> None:
    folder, printed = reproduced
    data = json.loads((folder / "scorecard.json").read_text())
    verdicts = {one["id"]: one["verdict"] for one in data["claims"]}
    good = ("Q-f6a.1", "Q-f6a.2", "Q-f6a.3", "Q-f6a.4", "Q-f6b.3", "Q-f6b.4", "Q-f6c.1", "Q-f6c.2")
    assert {verdicts[i] for i in good} == {"reproduced"}
    assert {verdicts[i] for i in ("Q-f6b.1", "Q-f6b.2", "Q-f6b.5")} == {"deviates"}
    assert verdicts["Q-f6c.3"] == "ordering holds"
    causes = {one["id"]: one["cause"] for one in data["claims"]}
    assert "at 3g" in causes["Q-f6b.1"]
    assert "at 3g" in causes["Q-f6b.2"]
    answers = {one["id"]: one for one in data["findings"]}
    assert answers["Q-x1"]["outcome"] == "contradiction"
    assert set(answers) == {"Q-x1", "Q-x2", "Q-x3"}
    # The terminal and the files tell the same.
    assert all(i in printed for i in verdicts)
    assert all(i in (folder / "scorecard.md").read_text() for i in verdicts)


def test_everything_is_written(reproduced: tuple[Path, str]) -> None:
    names = {
        path.name for path in reproduced[0].iterdir() if not path.name.endswith(("-wal", "-shm"))
    }
    assert names == {
        *(f"fig6.{form}" for form in FORMATS), "fig6.csv", "results.sqlite", "scorecard.json",
        "scorecard.md",
    }  # fmt: skip


def test_doing_it_again_computes_nothing_and_changes_no_byte(
    reproduced: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = reproduced
    store = folder / "results.sqlite"
    again = CliRunner().invoke(
        reproduce,
        ["fig6", "--out", str(tmp_path), "--store", str(store), "--quiet"],
        catch_exceptions=False,
        standalone_mode=False,
    )
    assert again.return_value == 0
    assert "0 computed" in again.output
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_the_scorecard_of_a_store_and_the_computed_one_agree(
    reproduced: tuple[Path, str],
) -> None:
    arguments = ["--figure", "fig6", "--json"]
    computed = CliRunner().invoke(scorecard, arguments, catch_exceptions=False)
    stored = CliRunner().invoke(
        scorecard, [*arguments, "--store", str(reproduced[0] / "results.sqlite")],
        catch_exceptions=False,
    )  # fmt: skip
    assert json.loads(computed.output) == json.loads(stored.output)
    assert json.loads(stored.output) == json.loads((reproduced[0] / "scorecard.json").read_text())


def test_the_whole_scorecard_has_no_undecided_claim_that_rows_could_decide() -> None:
    done = CliRunner().invoke(scorecard, ["--json"], catch_exceptions=False)
    claims = json.loads(done.output)["claims"]
    pending = [one for one in claims if one["verdict"] == "pending"]
    assert all(one["cause"].startswith("needs ") for one in pending)
    assert all(f["outcome"] != "pending" for f in json.loads(done.output)["findings"])
    by_id = {one["id"]: one for one in claims}
    # 9216 of 150528 elements; at 4 bytes against 1 that is 36.9 kB of 150.5 kB.
    assert by_id["Q-i3.1"]["ours"] == pytest.approx(100 * (1 - 9216 / 150528))
    assert by_id["Q-i3.2"]["ours"] == pytest.approx(100 * (1 - 4 * 9216 / 150528))
    assert by_id["Q-i3.2"]["verdict"] == "reproduced"
    # 313.2 MMAC on 5 GFLOPS and 98,304 bits at 1.6 Mb/s: sending the input takes 124 ms.
    assert by_id["C-f5a.4"]["ours"] == pytest.approx(124, rel=0.01)
    assert by_id["C-f5a.4"]["verdict"] == "not reproducible"


def test_one_paper_only() -> None:
    done = CliRunner().invoke(scorecard, ["--paper", "a", "--json"], catch_exceptions=False)
    assert {one["paper"] for one in json.loads(done.output)["claims"]} == {"A"}


def test_figures_are_listed_and_misspelt_ones_offered() -> None:
    from coinfer.errors import UnknownNameError

    assert "fig6" in CliRunner().invoke(list_figures).output
    with pytest.raises(UnknownNameError, match="unknown figure 'fig66'; did you mean 'fig6'"):
        figure("fig66")


def test_python_m_reproduce_helps_without_heavy_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "reproduce", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "FIGURE" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"torch", "numpy", "matplotlib", "pydantic", "jinja2"})


def test_python_m_reproduce_refuses_an_unknown_figure_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reproduce", "fig9", "--out", str(tmp_path / "x")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "coinfer: unknown figure 'fig9'; did you mean 'fig6'?\n"
    assert not (tmp_path / "x").exists()
