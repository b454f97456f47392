"""The report: self-contained, escaped, the same bytes for the same store."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.store import Run, Store
from coinfer.errors import CoinferError
from reports.cli import report
from reports.page import MAX_ROWS, render, write_report
from reproduce.claims import papers
from reproduce.facts import Facts
from reproduce.findings import answer_all
from reproduce.scorecard import judge_all
from tests.latencies import grid, timed

EVIL = "<script>alert(1)</script>"
RUN = Run(
    "1",
    "2024-05-01T12:00:00Z",
    None,
    {
        "command_line": ["coinfer", "run", EVIL],
        "python": "CPython 3.11",
        "platform": "Linux",
        "cpu": "a cpu",
        "versions": {"numpy": "2.0", "torch": None},
        "git": {"commit": "abc", "dirty": True},
    },
)
VOID = {"meta", "br", "link", "img", "hr", "input", "path", "use"}


class Page(HTMLParser):
    """Collects the tags, the text, and the links of a page; fails on unbalanced tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def page_of(rows: list) -> str:  # type: ignore[type-arg]
    facts = Facts.of(rows)
    paper = papers()["Q"]
    return render(rows, [RUN], judge_all(paper.claims, facts), answer_all(paper.findings, facts))


def test_names_are_shown_escaped() -> None:
    rows = [
        timed(EVIL, device=f"{EVIL}[a=1]", link='"><b>'),
        timed("all_local", status="failed", reason=EVIL),
    ]
    html = page_of(rows)
    page = Page(html)
    assert EVIL not in html
    assert "script" not in page.tags
    # As text, it is there: method, device, reason and command line at least.
    assert page.text.count(EVIL) >= 4
    assert '"><b>' in page.text


def test_every_verdict_is_told_in_words_with_its_cause() -> None:
    rows = grid({("raspberry-pi-4b", "3g", "all_server"): 7.0})
    page = Page(page_of(rows))
    text = " ".join(page.text.split())
    judged = judge_all(papers()["Q"].claims, Facts.of(rows))
    assert {one.verdict for one in judged} >= {"deviates", "pending"}
    for one in judged:
        assert one.claim.id in text
        assert " ".join(one.cause.split()) in text
    assert "≠ deviates" in text


def test_rows_say_what_they_took_or_why_not() -> None:
    rows = [
        timed("all_local", 0.25),
        timed("all_server", status="skipped", reason="no such payload"),
        timed("neurosurgeon", float("inf")),
    ]
    text = " ".join(Page(page_of(rows)).text.split())
    assert "250 ms" in text
    assert "125 ms" in text
    assert "skipped no such payload" in text
    assert "inf s" in text
    assert "analytic" in text


def test_parts_that_take_no_time_are_named_after_the_key() -> None:
    text = " ".join(Page(page_of([timed("all_local")])).text.split())
    assert "uplink (encode, round trip, decode, server: 0 in every row)" in text


def test_assumptions_are_told_once_and_only_where_there_are_any() -> None:
    rows = [timed("all_local"), timed("all_server"), timed("neurosurgeon")]
    told = [
        replace(row, result=replace(row.result, assumptions=texts))
        for row, texts in zip(rows, [("rate & all",), ("rate & all", "a note"), ()], strict=True)
    ]
    page = Page(page_of(told))
    assert page.text.count("rate & all") == page.text.count("a note") == 1
    assert "Assumptions and notes" in page.text
    assert "Assumptions and notes" not in Page(page_of(rows)).text


def test_long_tables_are_cut_and_say_so() -> None:
    rows = [timed("all_local", seed=seed) for seed in range(MAX_ROWS + 5)]
    text = " ".join(Page(page_of(rows)).text.split())
    assert f"The first {MAX_ROWS} of {MAX_ROWS + 5} rows" in text


def test_provenance_of_the_runs() -> None:
    text = " ".join(Page(page_of([timed("all_local")])).text.split())
    assert "2024-05-01T12:00:00Z to not finished" in text
    assert "Commit: abc with uncommitted changes" in text
    assert "numpy 2.0." in text
    assert "torch" not in text.partition("Provenance")[2].partition("Rendered")[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "results.sqlite"
    rows = grid({("raspberry-pi-4b", "3g", "neurosurgeon"): 1.25})
    with Store.open(path) as opened:
        run_id = opened.begin_run({**RUN.provenance, "started_at": RUN.started_at})
        opened.put(rows, run_id)
    return path


def made(store: Path, folder: Path) -> list[str]:
    done = CliRunner().invoke(
        report, ["--store", str(store), "-o", str(folder)], catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.output.split()


def test_a_store_becomes_a_page_that_needs_nothing_else(store: Path, tmp_path: Path) -> None:
    files = made(store, tmp_path / "site")
    assert {Path(file).name for file in files} == {
        "index.html", "scorecard.json", "fig6.svg", "fig6.pdf", "fig6.png", "fig6.csv",
    }  # fmt: skip
    html = (tmp_path / "site" / "index.html").read_text()
    page = Page(html)
    assert page.tags.count("figure") == 1
    assert "script" not in page.tags
    # No link leaves the folder, and every one leads somewhere.
    for link in page.links:
        target = (
            link[1:] in page.ids if link.startswith("#") else (tmp_path / "site" / link).is_file()
        )
        assert target, link
    assert not re.search(r"url\((?!#)|@import", html)
    assert len(set(page.ids)) == len(page.ids)
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html
    data = json.loads((tmp_path / "site" / "scorecard.json").read_text())
    assert len(data["claims"]) == sum(len(paper.claims) for paper in papers().values())


def test_the_same_store_gives_the_same_bytes(store: Path, tmp_path: Path) -> None:
    first, second = made(store, tmp_path / "a"), made(store, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes(), one


def test_a_store_without_the_figures_cells_has_no_figure(tmp_path: Path) -> None:
    rows = [timed("all_local", model="resnet18")]
    files = write_report(rows, [], tmp_path)
    assert {path.name for path in files} == {"index.html", "scorecard.json"}
    page = Page((tmp_path / "index.html").read_text())
    assert "figure" not in page.tags
    assert "The store records no runs." in page.text


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CoinferError, match="no rows to report"):
        write_report([], [], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_missing_store_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CoinferError, match="no such file") as refused:
        CliRunner().invoke(
            report,
            ["--store", str(tmp_path / "none.sqlite"), "-o", str(tmp_path / "site")],
            catch_exceptions=False,
        )
    assert "\n" not in str(refused.value)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, reports.cli, reproduce.cli; "
        "print(sorted({'torch', 'numpy', 'matplotlib', 'pydantic', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
