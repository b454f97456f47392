"""Fig. 6: the same bytes from the same rows, and the paper's ratios from the real network."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.comparison import comparison_names
from benchmarks.rows import Row
from benchmarks.store import Store
from coinfer.cli import run
from coinfer.errors import CoinferError
from reproduce import fig6
from reproduce.claims import papers
from reproduce.cli import list_figures, reproduce, scorecard
from reproduce.collect import learns
from reproduce.commands import frozen
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
    by_cell = {(r.cell.device, r.cell.link, r.cell.method): r for r in ROWS}
    for record in records:
        row = by_cell[record["device"], record["link"], record["method"]]
        result = row.result
        assert record["key"] == row.key
        assert float(record["total_s"]) == result.latency["total_s"]
        assert float(record["uplink_s"]) == result.latency["uplink_s"]
        assert record["latency_evidence"] == "analytic"
        assert record["uplink_bits_evidence"] == "unknown"  # these rows do not say
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


def test_a_reason_in_the_data_cannot_act_on_a_terminal() -> None:
    rows = [timed("all_local", status="failed", reason="\x1b[2J\u202egone")]
    text = fig6.csv_text(fig6.points(Facts.of(rows)))
    assert "\\x1b[2J\\u202egone" in text
    assert all(sign.isprintable() or sign == "\n" for sign in text)


def test_panels_and_links_bear_the_numbers_of_the_rows() -> None:
    # 10 FLOPs in the half of a latency; 1 Mb/s.
    facts = Facts.of([timed("all_local", 1e-8, device="jetson-tk1", link="5g")])
    with house_style():
        panels = fig6.draw(fig6.points(facts)).axes
    assert [axis.get_title() for axis in panels] == [
        "(a) Raspberry Pi 3B+", "(b) Raspberry Pi 4B", "(c) Jetson TK1, 2 GFLOPS",
    ]  # fmt: skip
    labels = [label.get_text() for label in panels[2].get_xticklabels()]
    assert labels == ["3G", "4G", "5G\n1", "WiFi"]


def test_no_text_lies_over_another() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # Two-line tick labels, neighbouring bars of like height, a footnote of two lines.
    for facts in (Facts.of(ROWS), Facts.of(grid({})), Facts.of([])):
        with house_style():
            drawn = fig6.draw(fig6.points(facts))
            FigureCanvasAgg(drawn).draw()
        texts = [text for text in drawn.texts if text.get_text()]
        for axis in drawn.axes:
            texts += [axis.title, axis.xaxis.label, *axis.get_xticklabels(), *axis.texts]
        texts += [drawn.axes[0].yaxis.label, *drawn.legends[0].get_texts()]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
        for i, (one, box) in enumerate(boxes):
            assert box.x0 >= 0, one
            assert box.y0 >= 0, one
            assert box.x1 <= drawn.bbox.x1, one
            for other, another in boxes[i + 1 :]:
                assert not box.overlaps(another), (one, other)


def _axes(heights: tuple[tuple[float | None, ...], ...]):  # type: ignore[no-untyped-def]
    panel = Bars("(a)", ("3G", "4G"), heights)
    with house_style():
        drawn = grouped_bars([panel], list(METHOD_STYLES.values())[:2], "link", "time", "note")
    return drawn.axes[0]


def test_the_axis_is_logarithmic_only_where_the_range_asks_for_it() -> None:
    assert _axes(((1.0, 2.0), (3.0, 19.0))).get_yscale() == "linear"
    assert _axes(((1.0, 2.0), (3.0, 21.0))).get_yscale() == "log"


def test_a_logarithmic_axis_says_so() -> None:
    assert _axes(((1.0, 2.0), (3.0, 19.0))).get_ylabel() == "time"
    assert _axes(((1.0, 2.0), (3.0, 21.0))).get_ylabel() == "time, log scale"


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
        ["fig6", "--out", str(tmp_path), "--store", str(store)],
        catch_exceptions=False,
        standalone_mode=False,
    )
    assert again.return_value == 0
    assert "0 computed" in again.output
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_quiet_prints_where_the_result_is_and_nothing_else(
    reproduced: tuple[Path, str], tmp_path: Path
) -> None:
    store = reproduced[0] / "results.sqlite"
    out = tmp_path / "new" / "fig6"
    done = CliRunner().invoke(
        reproduce,
        ["fig6", "--out", str(out), "--store", str(store), "--quiet"],
        catch_exceptions=False,
        standalone_mode=False,
    )
    assert done.stdout == f"{out}\n"
    assert done.stderr == ""
    assert (out / "scorecard.json").is_file()


def test_what_this_command_did_not_write_is_not_replaced(
    reproduced: tuple[Path, str], tmp_path: Path
) -> None:
    def again() -> None:
        arguments = ["fig6", "--out", str(tmp_path), "--store"]
        store = str(reproduced[0] / "results.sqlite")
        CliRunner().invoke(reproduce, [*arguments, store, "--quiet"], catch_exceptions=False)

    mine = tmp_path / "fig6.csv"
    mine.write_text("mine")
    with pytest.raises(CoinferError, match="fig6.csv' is there already and `coinfer reproduce`"):
        again()
    assert [path.name for path in tmp_path.iterdir()] == ["fig6.csv"]
    assert mine.read_text() == "mine"
    mine.unlink()
    again()
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again()  # over its own files
    assert written == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["harness", "method"])
def test_rows_of_other_code_decide_nothing(
    reproduced: tuple[Path, str], tmp_path: Path, name: str
) -> None:
    store = tmp_path / "other.sqlite"
    with Store.open(reproduced[0] / "results.sqlite", readonly=True) as source:
        rows = list(source.rows())
    with Store.open(store) as target:
        run_id = target.begin_run({})
        # What these rows say is wrong, too, and must not come to light in any verdict.
        target.put([_by_other_code(row, name) for row in rows], run_id)
    arguments = ["--figure", "fig6", "--json", "--store", str(store)]
    told = json.loads(CliRunner().invoke(scorecard, arguments, catch_exceptions=False).output)
    source_of = {"harness": "the source of the harness", "method": "the source of the method"}
    for one in told["claims"]:
        assert (one["verdict"], one["ours"], one["numbers"]) == ("pending", None, [])
        assert one["cause"] == (
            f"rows in the store were computed by other code; changed since: {source_of[name]} "
            "(`coinfer run fig6 --store FILE` computes them again)"
        )
    assert {one["outcome"] for one in told["findings"]} == {"pending"}
    # Run again, as that says: beside the old rows there are now current ones, and these decide.
    assert run(["run", "fig6", "--store", str(store), "--quiet"]) == 0
    told = json.loads(CliRunner().invoke(scorecard, arguments, catch_exceptions=False).output)
    assert told == json.loads((reproduced[0] / "scorecard.json").read_text())


def _by_other_code(row: Row, name: str) -> Row:
    latency = {part: 7.0 * seconds for part, seconds in row.result.latency.items()}
    if row.cell.method == "neurosurgeon":
        latency = {part: 100.0 * seconds for part, seconds in latency.items()}
    return replace(
        row, inputs={**row.inputs, name: "0" * 64}, result=replace(row.result, latency=latency)
    )


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
    # A process of its own, as users run it: it computes cells of every figure.
    command = [sys.executable, "-c", "from coinfer.cli import main; main()", "scorecard", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    claims = json.loads(done.stdout)["claims"]
    pending = [one for one in claims if one["verdict"] == "pending"]
    # Only what must be written, what a method has no answer to, or what a command computes that
    # takes longer than a scorecard.
    silent = (" infeasible: ", " skipped: ")
    by_run = [
        one
        for one in pending
        if not one["cause"].startswith("needs ") and not any(s in one["cause"] for s in silent)
    ]
    commands = ("`coinfer run ", "`coinfer reproduce cpcdrl2024-fig3`")
    assert all(any(command in one["cause"] for command in commands) for one in by_run)
    searched = {
        c.id
        for one in papers().values()
        for c in one.claims
        if c.search or (c.many and not frozen(c.matrix))
    }
    assert {one["id"] for one in by_run} == searched
    measured = [one["id"] for one in claims if "measured" in one["evidence"].split(", ")]
    unmeasured = [one["id"] for one in claims if one["verdict"] == "not measured"]
    from_tables = {c.id for one in papers().values() for c in one.claims if c.measured}
    assert from_tables <= {*measured, *unmeasured}
    # AlexNet's table ships, and begins with the unpruned network.
    assert "Q-acc-alexnet.1" in measured
    # Findings too: only what no selections or comparison ship for is open.
    findings = {f.id: f for one in papers().values() for f in one.findings}
    for told in json.loads(done.stdout)["findings"]:
        finding = findings[told["id"]]
        shipped = all(frozen(name) or not learns(name) for name in finding.matrix)
        there = shipped and (finding.compute != "literal_reading" or bool(comparison_names()))
        assert (told["outcome"] == "pending") == (not there), told
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

    told = CliRunner().invoke(list_figures).output
    assert all(name in told for name in ("fig6", "table4", "study"))
    data = json.loads(CliRunner().invoke(list_figures, ["--json"]).output)
    assert {name: (one["reads"], one["matrix"]) for name, one in data.items()} == {
        "fig6": ("matrix", "fig6"), "table4": ("table", ""), "study": ("recipe study", ""),
        "codes": ("code study", ""),
        "caution": ("table", ""), "agreement": ("tables", ""),
        "optimisers": ("comparison", ""),
        "fig11-mixed": ("matrix", "fig11-mixed"), "fig7-guarded": ("matrix", "fig7-guarded"),
        "fig7-cautious": ("matrix", "fig7-cautious"), "fig7-all": ("matrix", "fig7-all"),
        "cia2021-fig2-resnet50": ("matrix", "cia2021-fig2-resnet50"),
        "cia2021-fig2-resnet50-harmonised": ("matrix", "cia2021-fig2-resnet50-harmonised"),
        "cia2021-fig3-resnet50": ("matrix", "cia2021-fig3-resnet50"),
        "threestep2020-fig1": ("network", ""), "cpcdrl2024-fig3": ("search", ""),
        **{
            name: ("matrix", name)
            for fig in (
                *("fig7", "fig8", "fig9", "fig10", "fig11"),
                *("threestep2020-fig3", "threestep2020-fig4", "threestep2020-fig5"),
                *("cia2021-fig2", "cia2021-fig3", "cpcdrl2024-fig4", "cpcdrl2024-fig5"),
            )
            for name in (fig, f"{fig}-harmonised")
        },
    }  # fmt: skip
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


def test_python_m_reproduce_takes_the_name_of_the_tox_environment(tmp_path: Path) -> None:
    """As tox runs it: -P keeps the folder it runs in from being imported; options follow."""
    (tmp_path / "reproduce.py").write_text("raise SystemExit('not this one')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "reproduce", "reproduce-threestep2020-fig1", "--quiet"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "out" / "threestep2020-fig1"
    assert (folder / "scorecard.md").is_file()


def test_python_m_reproduce_refuses_an_unknown_figure_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reproduce", "table5", "--out", str(tmp_path / "x")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "coinfer: unknown figure 'table5'; did you mean 'table4'?\n"
    assert not (tmp_path / "x").exists()
