"""The report: self-contained, escaped, the same bytes for the same store."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.catalog import Catalog
from benchmarks.evaluate import Group, evaluate, prepare
from benchmarks.freshness import Checked, check
from benchmarks.rows import Row
from benchmarks.selections import shipped_selections
from benchmarks.store import Run, Store
from coinfer.cli import run as coinfer
from coinfer.errors import CoinferError
from coinfer.hardware import Link, Processor
from coinfer.presets import built_in_presets
from reports import rowtable
from reports.cli import report
from reports.content import Content
from reports.numbers import rate_text, times_text
from reports.overview import device_title
from reports.rowtable import MAX_ROWS
from reports.site import MARK, pages, texts_of, write_report
from reports.standings import standings
from reproduce.claims import papers
from reproduce.collect import shipped_facts
from reproduce.draw import house_style, user_style
from reproduce.facts import Facts
from reproduce.figures import figure, figures
from reproduce.scorecard import judge_all
from tests.latencies import current, grid, timed

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
METHOD = """
from dataclasses import dataclass
from typing import ClassVar

from coinfer.method import Method, MethodCard
from coinfer.plan import CutRef, Plan, Selection


@dataclass(frozen=True)
class Mine(Method):
    card: ClassVar[MethodCard] = MethodCard(
        name="mine", title="Mine", idea="x", reference="x", cuts=frozenset({"interior"}),
        sees=frozenset(),
    )

    def select(self, library, scenario, context):
        cut = context.cuts[0]
        return Selection(Plan(context.task.model, CutRef(cut.index, cut.after)), evaluations=1)
"""
VOID = {"meta", "br", "link", "img", "hr", "input", "path", "use", "circle"}


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
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


class Anything:
    """Presets in which every name is known."""

    def device(self, ref: str) -> Processor:
        return built_in_presets().device("raspberry-pi-4b")

    def server(self, ref: str) -> Processor:
        return built_in_presets().server("tesla-p100")

    def link(self, ref: str) -> Link:
        return built_in_presets().link("3g")

    def listed(self, kind: str) -> dict[str, object]:
        return {}


class AnyCatalog(Catalog):
    presets = Anything()  # type: ignore[assignment]


def pages_of(rows: list[Row], *set_aside: Checked) -> dict[str, str]:
    found = [*(Checked(row, run_id="1") for row in rows), *set_aside]
    made = pages(Content.of(found, [RUN], AnyCatalog(), Facts.of(rows)))
    return {name: text for name, text in made.items() if name.endswith(".html")}


def page_of(rows: list[Row], *set_aside: Checked) -> str:
    return pages_of(rows, *set_aside)["rows.html"]


def flat(html: str) -> str:
    return " ".join(Page(html).text.split())


def text_of(*rows: Row) -> str:
    return flat(page_of(list(rows)))


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds, and what is there already does not depend on how much is drawn."""
    monkeypatch.setattr("reports.drawings.figures", lambda: {"fig6": figure("fig6")})


def test_names_are_shown_escaped() -> None:
    rows = [
        timed(EVIL, 0.25, device=f"{EVIL}[a=1]", link='"><b>'),
        timed("all_local", device=f"{EVIL}[a=1]", link='"><b>'),
        timed("all_local", status="failed", reason=EVIL),
    ]
    every = pages_of(rows)
    for name, html in every.items():
        assert EVIL not in html, name
        # The scripts are ours, and the policy names their hashes: no other one runs.
        for script in re.findall(r"<script>(.*?)</script>", html, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in html, name
        assert re.fullmatch(r"[a-z0-9_.+-]+", name)
    # As text, it is there: method, device and reason, command line, heat map, its own page.
    assert Page(every["rows.html"]).text.count(EVIL) >= 3
    assert '"><b>' in Page(every["rows.html"]).text
    for name in ("index.html", "methods.html", "provenance.html"):
        assert EVIL in Page(every[name]).text, name
    own = [name for name in every if name.startswith("method-script")]
    assert len(own) == 1
    assert EVIL in Page(every[own[0]]).text
    data = re.search(r'id="whatif-data">(.*?)</script>', every["whatif.html"], re.DOTALL)
    assert data
    assert EVIL in [method["ref"] for method in json.loads(data[1])["methods"]]


def test_names_are_escaped_in_markdown_and_tex() -> None:
    rows = [timed(name, device="x|y & $z_") for name in (EVIL, "all_local")]
    found = [Checked(row) for row in rows]
    content = Content.of(found, [RUN], AnyCatalog(), Facts.of(rows))
    markdown = texts_of(content, "md")["report.md"]
    assert "<script" not in markdown
    assert "&lt;script>alert(1)&lt;/script>" in markdown
    assert r"x\|y &amp; $z\_" in markdown
    tex = texts_of(content, "tex")["report.tex"]
    assert r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}" in tex
    assert r"\begin{tabular}" in tex
    assert tex.count(r"\toprule") == tex.count(r"\bottomrule") == tex.count(r"\begin{tabular}")
    for line in tex.splitlines():
        bare = re.sub(r"\\[&%$#_{}]", "", line)
        assert bare.count("{") == bare.count("}"), line


def test_nothing_in_a_name_acts_on_the_reader() -> None:
    evil = "\x1b[31m\u202eright to left\u2066\u200b\x00"
    every = pages_of([timed(evil), timed("all_local", status="failed", reason=evil)])
    assert "\\x1b[31m\\u202eright to left\\u2066\\u200b\\x00" in every["rows.html"]
    for name, html in every.items():
        assert all(sign.isprintable() or sign == "\n" for sign in html), name


def test_every_number_has_its_evidence_class_and_its_row() -> None:
    row = timed("all_local", 0.25, evidence="measured")
    told = replace(
        row,
        result=replace(
            row.result,
            evidence={"latency": "measured", "uplink_bits": "analytic", "accuracy": "published",
                      "accuracy_loss": "predicted", "energy": "analytic"},
            accuracy=0.8742, accuracy_loss=0.005, energy_j=1.5,
        ),
    )  # fmt: skip
    text = text_of(told)
    for number in (
        "250 ms measured", "1,000,000 bits analytic", "0.5 points predicted", "87.42 % published",
        "1.5 J analytic",
    ):  # fmt: skip
        assert number in text, number
    assert f"{told.key[:8]} run 1" in text
    assert "Published accuracies: alexnet: Mu et al. 2024" in text
    # A quantity that no row has has no column; a number of unknown origin says so.
    without = text_of(timed("all_local"))
    assert "Accuracy loss" not in without
    assert "1,000,000 bits evidence unknown" in without


def test_the_numbers_behind_a_verdict_name_their_rows() -> None:
    rows = grid({})
    every = pages_of(rows)
    page = Page(every["scorecard.html"])
    used = {row.key for row in rows if row.cell.device == "jetson-tk1"}
    assert {f"rows.html#row-{key}" for key in used} <= set(page.links)
    assert {f"row-{row.key}" for row in rows} <= set(Page(every["rows.html"]).ids)
    text = " ".join(page.text.split())
    assert "all_server / neurosurgeon at 3g: 1.00x (analytic; rows" in text


@pytest.mark.usefixtures("one_figure")
def test_where_speeds_and_rates_come_from(store: Path, tmp_path: Path) -> None:
    made(store, tmp_path)
    text = flat((tmp_path / "provenance.html").read_text())
    assert "device jetson-tk1 326.4 GFLOP/s Mu et al. 2024" in text
    assert "link 4g 11.22 Mb/s Mu et al. 2024 (QHO), Table III" in text
    assert "convention qho2024" in text
    own = [Checked(current(timed("all_local", link="rate[rate_bps=123000.0]")))]
    write_report(own, [], tmp_path / "own", Catalog())
    text = flat((tmp_path / "own" / "provenance.html").read_text())
    assert "device raspberry-pi-4b 3 GFLOP/s" in text
    assert "link rate" not in text  # it says its number itself


def test_links_are_in_the_order_of_their_rates() -> None:
    rates = {"rate[rate_bps=200000.0]": 2e5, "wifi": 54e6, "rate[rate_bps=10000000.0]": 1e7,
             "rate[rate_bps=3000.0]": 3e3, "4g": 11e6}  # fmt: skip
    rows = [
        replace(row, result=replace(row.result, rate_bps=rates[row.cell.link]))
        for row in (timed("all_local", link=link) for link in rates)
    ]
    # One method failed at that rate, of which other rows know the number; two links have no result.
    rows.append(timed("neurosurgeon", link="4g", status="failed", reason="x"))
    rows += [timed("all_local", link=f"rate[rate_bps={r}]", status="failed") for r in (90.0, 200.0)]
    for given in (rows, rows[::-1]):
        html = page_of(given)
        table = html[html.index('class="rows') :]
        places = [
            table.index(f'class="title">{link}')
            for link in (
                "rate[rate_bps=3000.0]", "rate[rate_bps=200000.0]", "rate[rate_bps=10000000.0]",
                "4g", "wifi", "rate[rate_bps=90.0]", "rate[rate_bps=200.0]",
            )
        ]  # fmt: skip
        assert places == sorted(places)
        four = [at.start() for at in re.finditer(r'class="title">4g', table)]
        assert four[1] < table.index('class="title">wifi')


def test_every_verdict_is_told_in_words_with_its_cause() -> None:
    rows = grid({("raspberry-pi-4b", "3g", "all_server"): 7.0})
    text = flat(pages_of(rows)["scorecard.html"])
    judged = judge_all(papers()["Q"].claims, Facts.of(rows))
    assert {one.verdict for one in judged} >= {"deviates", "pending"}
    for one in judged:
        assert one.claim.id in text
        assert " ".join(one.cause.replace("`", "").split()) in text  # commands are marked up
    assert "≠ deviates" in text


def test_claims_that_nothing_decides_yet_stand_apart_with_what_each_needs() -> None:
    rows = [
        row for row in grid({("raspberry-pi-4b", "3g", "all_server"): 7.0})
        if row.cell.device != "jetson-tk1"
    ]  # fmt: skip
    every = pages_of(rows)
    judged = judge_all(papers()["Q"].claims, Facts.of(rows))
    own = [one for one in judged if one.claim.stem in figure("fig6").stems]
    still_open = [one for one in own if one.verdict in ("pending", "not measured")]
    assert 0 < len(still_open) < len(own)
    table, apart = every["figure-fig6.html"].split("Not decided yet")
    apart = apart[: apart.index("</section>")]
    for one in own:
        shown, elsewhere = (apart, table) if one in still_open else (table, apart)
        cell = f'id="claim-{one.claim.id}"'
        assert cell in shown
        assert cell not in elsewhere
    # On the scorecard, what is decided comes first.
    ids = [at for at in Page(every["scorecard.html"]).ids if at.startswith("claim-")]
    verdicts = {f"claim-{one.claim.id}": one.verdict for one in judged}
    theirs = [verdicts[at] in ("pending", "not measured") for at in ids if at in verdicts]
    assert theirs == sorted(theirs)
    text = flat(every["scorecard.html"])
    assert "measures it, coinfer scorecard --table FILE.csv judges it" in text


def test_what_crosses_is_told_in_its_own_unit_with_its_evidence() -> None:
    bits, symbols, unknown = (timed(name) for name in ("all_server", "neurosurgeon", "all_local"))
    evidence = {"latency": "analytic", "uplink_bits": "measured", "uplink_symbols": "predicted"}
    results = [
        replace(bits.result, uplink_bits=18084.7, evidence=evidence),
        replace(symbols.result, uplink_bits=None, uplink_symbols=4096, evidence=evidence),
        replace(unknown.result, uplink_bits=None, evidence=evidence),
    ]
    rows = [
        replace(row, result=result)
        for row, result in zip((bits, symbols, unknown), results, strict=True)
    ]
    html = page_of(rows)
    cells = re.findall(
        r'<td class="num" data-name="uplink" data-v="[^"]*">(.*?) ?<small>(.*?)</small>', html
    )
    assert sorted(cells) == [
        ("", "measured"), ("18,085 bits", "measured"), ("4,096 symbols", "predicted"),
    ]  # fmt: skip


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


def test_long_tables_go_on_on_further_pages() -> None:
    rows = [timed("all_local", seed=seed) for seed in range(2 * MAX_ROWS + 5)]
    every = pages_of(rows)
    names = ["rows.html", "rows-2.html", "rows-3.html"]
    assert sorted(name for name in every if name.startswith("rows")) == sorted(names)
    pages_ = [Page(every[name]) for name in names]
    ids = [{one for one in page.ids if one.startswith("row-")} for page in pages_]
    assert [len(one) for one in ids] == [MAX_ROWS, MAX_ROWS, 5]
    assert set.union(*ids) == {f"row-{row.key}" for row in rows}
    for page in pages_:
        assert set(names) <= set(page.links)
    assert "Rows 2,001 to 2,005 of 2,005" in flat(every["rows-3.html"])
    # Rows of one question are in order over the pages.
    assert f"all_local, seed {MAX_ROWS - 1}" in flat(every["rows.html"])
    assert f"all_local, seed {MAX_ROWS} " in flat(every["rows-2.html"])


def test_numbers_link_to_the_page_that_shows_their_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowtable, "MAX_ROWS", 2)
    rows = grid({})
    every = pages_of(rows)
    linked = [link for link in Page(every["scorecard.html"]).links if "#row-" in link]
    assert {link.partition("#")[0] for link in linked} > {"rows.html"}
    for link in linked:
        name, _, anchor = link.partition("#")
        assert anchor in Page(every[name]).ids


def test_a_report_without_rows_has_its_page_of_them() -> None:
    assert rowtable.row_pages([], {})[0]["name"] == "rows.html"


# Rows that other code computed.


def test_rows_that_decide_nothing_are_marked_and_counted() -> None:
    good = [timed("all_local"), timed("all_server")]
    stale = [
        Checked(timed("neurosurgeon", link=link), "1", ("harness",)) for link in ("3g", "4g", "5g")
    ]
    other = Checked(timed("mine"), "1", unknown="unknown method 'mine'")
    every = pages_of(good, *stale, other)
    html = every["rows.html"]
    text = flat(html)
    assert "4 of 6 rows decide no claim and no figure." in text
    assert "3 stale: computed by other code; changed since: the source of the harness" in text
    assert "1 not checked: not to be compared with what would be computed now" in text
    assert "unknown method 'mine'" in text
    assert len(re.findall(r'<tr id="row-[^"]*" class="stale">', html)) == 3
    assert len(re.findall(r'<tr id="row-[^"]*" class="not-checked">', html)) == 1
    assert text.count("neurosurgeon stale") == 3
    assert "4 of 6 rows decide no claim and no figure." in flat(every["index.html"])
    for absent in ("decide no claim", "stale", "not checked"):
        assert absent not in " ".join(Page(page_of(good)).text.split())


def test_older_answers_of_a_cell_are_counted_and_not_shown() -> None:
    row = timed("all_local", 0.25)
    old = replace(timed("all_local", 0.5), inputs={"method": "old"})
    text = " ".join(Page(page_of([row], Checked(old, "", ("method",)))).text.split())
    assert "1 rows" not in text
    assert "1 older answer to cells of these is not shown." in text
    assert "250 ms" in text
    assert "500 ms" not in text
    assert "decide no claim" not in text


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize("name", ["harness", "method"])
def test_a_store_of_other_code_decides_no_claim_and_draws_no_figure(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "other.sqlite"
    with Store.open(path) as opened:
        rows = [current(row, **{name: "0" * 64}) for row in grid({})]
        opened.put(rows, opened.begin_run({}))
    done = CliRunner().invoke(
        report, ["--store", str(path), "-o", str(tmp_path / "site")], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "36 of 36 rows stale: computed by other code" in done.stderr
    assert not {file.name for file in (tmp_path / "site").glob("fig6.*")}
    told = json.loads((tmp_path / "site" / "scorecard.json").read_text())["claims"]
    about = [one for one in told if one["id"].startswith("Q-f6")]
    assert {one["verdict"] for one in about} == {"pending"}
    assert all("computed by other code" in one["cause"] for one in about)
    assert "36 of 36 rows decide no claim" in flat((tmp_path / "site" / "index.html").read_text())
    text = flat((tmp_path / "site" / "figure-fig6.html").read_text())
    assert "Not drawn, since other code computed its rows: QHO paper, Fig. 6" in text


@pytest.mark.usefixtures("one_figure")
def test_rows_of_a_method_file_are_current_where_the_file_is_given(tmp_path: Path) -> None:
    method = tmp_path / "mine.py"
    method.write_text(METHOD)
    store, site = tmp_path / "mine.sqlite", tmp_path / "site"
    run = ["run", "demo", "--store", str(store), "--method-file", str(method), "--quiet"]
    few = ["--methods", "mine", "--models", "alexnet", "--include", "link=3g"]
    assert coinfer([*run, *few]) == 0
    arguments = ["--store", str(store), "-o", str(site)]
    without = CliRunner().invoke(report, arguments, catch_exceptions=False)
    assert "3 of 3 rows not checked" in without.stderr
    assert "unknown method 'mine'" in without.stderr
    given = CliRunner().invoke(
        report, [*arguments, "--method-file", str(method)], catch_exceptions=False
    )
    assert given.stderr == ""
    assert "decide no claim" not in (site / "index.html").read_text()


def test_rows_of_frozen_selections_say_so() -> None:
    cell = next(iter(shipped_selections("fig7").answers))
    catalog = Catalog(selections="fig7")
    row = evaluate(prepare(Group.of(cell), catalog), cell)
    made = pages(Content.of(check([(row, "")], Catalog()), [], Catalog(), Facts.of([row])))
    text = flat(made["provenance.html"])
    assert "fig7: the plans of 1 row, chosen in matrix fig7" in text
    assert shipped_selections("fig7").hash in text
    assert "decide no claim" not in text
    assert "Frozen selections" not in flat(pages_of([timed("all_local")])["provenance.html"])


def test_provenance_of_the_runs() -> None:
    text = flat(pages_of([timed("all_local")])["provenance.html"])
    assert "2024-05-01T12:00:00Z to not finished" in text
    assert "Commit: abc with uncommitted changes" in text
    assert "numpy 2.0." in text
    assert "torch" not in text.partition("Runs")[2].partition("Rendered")[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "results.sqlite"
    rows = [current(row) for row in grid({("raspberry-pi-4b", "3g", "neurosurgeon"): 1.25})]
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


@pytest.fixture(scope="module")
def site(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made(store, folder)
    return folder


def test_a_store_becomes_a_site_that_needs_nothing_else(site: Path) -> None:
    names = {path.name for path in site.iterdir()}
    assert {
        "index.html", "figures.html", "methods.html", "scorecard.html", "findings.html",
        "whatif.html", "rows.html", "provenance.html", "scorecard.json",
        "fig6.svg", "fig6.pdf", "fig6.png", "fig6.csv",
        *(f"figure-{name}.html" for name in figures()),
        *(f"method-{name}.html" for name in Catalog().methods.classes),
    } <= names  # fmt: skip
    parsed = {name: Page((site / name).read_text()) for name in names if name.endswith(".html")}
    for name, page in parsed.items():
        html = (site / name).read_text()
        assert len(html) < 2_000_000, name
        assert len(set(page.ids)) == len(page.ids), name
        assert page.tags.count("h1") == page.tags.count("main") == 1, name
        assert page.tags.count("table") == page.tags.count("caption"), name
        assert 'name="viewport"' in html
        assert "prefers-color-scheme: dark" in html
        assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org|purl\.org|matplotlib\.org|"
                             r"creativecommons\.org)", html), name  # fmt: skip
        # No link leaves the folder, and every one leads somewhere.
        for link in page.links:
            file, _, anchor = link.partition("#")
            assert (site / (file or name)).is_file(), (name, link)
            if anchor and "=" not in anchor and not (file or name).endswith(".svg"):
                assert anchor in parsed[file or name].ids, (name, link)
    data = json.loads((site / "scorecard.json").read_text())
    assert len(data["claims"]) == sum(len(paper.claims) for paper in papers().values())


def test_the_page_of_a_figure_has_drawing_claims_files_and_commands(site: Path) -> None:
    html = (site / "figure-fig6.html").read_text()
    page, text = Page(html), flat(html)
    assert "svg" in page.tags
    assert {"fig6.csv", "fig6.svg", "fig6.png"} <= set(page.links)
    assert "coinfer reproduce fig6 --out out/fig6" in text
    assert "coinfer run fig6 --store results.sqlite" in text
    for claim in figure("fig6").claims():
        assert claim.id in text
    absent = flat((site / "figure-fig8.html").read_text())
    assert "This store has no row of its cells." in absent
    assert "coinfer run fig8" in absent
    frozen = flat((site / "figure-fig7.html").read_text())
    assert "coinfer run fig7 --store results.sqlite --selections fig7" in frozen
    # What no store holds is drawn from what ships, or says where it comes from.
    drawn = Page((site / "figure-threestep2020-fig1.html").read_text())
    assert "threestep2020-fig1.csv" in drawn.links
    assert "searches of its own" in flat((site / "figure-cpcdrl2024-fig3.html").read_text())


def test_the_page_of_a_method_has_its_card_choices_and_what_deviates(site: Path) -> None:
    html = (site / "method-neurosurgeon.html").read_text()
    text = flat(html)
    card = Catalog().methods.card("neurosurgeon")
    assert card.idea in text
    assert "<pre>@inproceedings{kang2017neurosurgeon,\n  author={" in html
    for choice in card.open_choices:
        assert choice.id in text
    assert "Where it wins and loses" in text
    claims = json.loads((site / "scorecard.json").read_text())["claims"]
    named = {c.id for c in papers()["Q"].claims if "neurosurgeon" in (*c.fast, *c.slow)}
    failing = text[text.index("could not be reproduced") : text.index("Open choices")]
    for claim in claims:
        if claim["id"] in named and claim["verdict"] == "deviates":
            assert claim["id"] in failing


def test_what_we_found_names_the_experiment_of_every_finding(site: Path) -> None:
    text = flat((site / "findings.html").read_text())
    for paper in papers().values():
        for finding in paper.findings:
            assert finding.id in text
        for claim in paper.claims:
            if claim.missing:
                assert claim.missing.replace("`", "") in text, claim.id
    assert "coinfer run fig6 --store FILE" in text


@pytest.mark.usefixtures("one_figure")
def test_a_report_for_a_readme_and_for_a_paper(store: Path, tmp_path: Path) -> None:
    for form in ("md", "tex"):
        done = CliRunner().invoke(
            report, ["--store", str(store), "-o", str(tmp_path / "d"), "--format", form],
            catch_exceptions=False,
        )  # fmt: skip
        assert done.exit_code == 0
    markdown = (tmp_path / "d" / "report.md").read_text()
    assert "| Q-f6a.1 |" in markdown
    assert "(fig6.png)" in markdown
    # Every line of a table has as many cells as its head.
    cells = re.compile(r"(?<!\\)\|")
    width = None
    for line in markdown.splitlines():
        if line.startswith("|"):
            width = width or len(cells.findall(line))
            assert len(cells.findall(line)) == width, line
        else:
            width = None
    tex = (tmp_path / "d" / "report.tex").read_text()
    assert r"\includegraphics[width=\linewidth]{fig6.pdf}" in tex
    assert (tmp_path / "d" / "fig6.pdf").is_file()


@pytest.mark.usefixtures("one_figure")
def test_templates_and_figure_style_can_be_overridden(store: Path, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "site.css").write_text("body { color: #123456; }\n")
    (tmp_path / "t" / "figures.html.j2").write_text(
        '{% extends "base.html.j2" %}{% block content %}MY OWN {{ figures | length }}{% endblock %}'
    )
    (tmp_path / "my.mplstyle").write_text("font.size: 5\nfigure.facecolor: 00ff00\n")
    arguments = ["--store", str(store), "--templates", str(tmp_path / "t"), "-o"]
    style = ["--style", str(tmp_path / "my.mplstyle")]
    CliRunner().invoke(report, [*arguments, str(tmp_path / "a"), *style], catch_exceptions=False)
    assert "#123456" in (tmp_path / "a" / "index.html").read_text()
    assert f"MY OWN {len(figures())}" in (tmp_path / "a" / "figures.html").read_text()
    assert "#00ff00" in (tmp_path / "a" / "fig6.svg").read_text()
    (tmp_path / "t" / "figures.html.j2").write_text("{{ nobody.knows }}")
    with pytest.raises(CoinferError, match=r"template 'figures.html.j2'.*'nobody' is undefined"):
        CliRunner().invoke(report, [*arguments, str(tmp_path / "b")], catch_exceptions=False)
    assert not (tmp_path / "b").exists()
    (tmp_path / "my.mplstyle").write_text("font.size: huge\n")
    with pytest.raises(CoinferError, match=r"style '.*my\.mplstyle'"):
        CliRunner().invoke(
            report, [*arguments, str(tmp_path / "b"), *style], catch_exceptions=False
        )


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{{ 1 / 0 }}", "template 'figures.html.j2': ZeroDivisionError"),
        (b"{{ {}() }}", "template 'figures.html.j2': TypeError"),
        (b"\xff", "template 'figures.html.j2': UnicodeDecodeError"),
        (b'{% extends "none.j2" %}', "there is no template 'none.j2'"),
        (b"{% if %}", "template 'figures.html.j2' line 1"),
    ],
)
def test_a_mistake_in_a_template_is_one_line(
    text: bytes, why: str, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "figures.html.j2").write_bytes(text)
    arguments = ["--store", str(store), "--templates", str(tmp_path / "t"), "-o"]
    with pytest.raises(CoinferError, match=re.escape(why)) as caught:
        CliRunner().invoke(report, [*arguments, str(tmp_path / "b")], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("font.size: 5\nfoo: 1\n", "foo"),
        ("lines.linewidth: abc\n", "abc"),
        ('axes.prop_cycle: cycler("color", [])\n', "prop_cycle"),
        ("# nothing\n", "sets nothing"),
    ],
)
def test_a_mistake_in_a_style_is_one_line(
    text: str, why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.mplstyle"
    path.write_text(text)

    def draw() -> None:
        from matplotlib.figure import Figure

        with user_style(path), house_style():
            Figure().subplots().plot([1, 2])

    with pytest.raises(CoinferError, match=r"style '.*my\.mplstyle'") as caught:
        draw()
    assert "\n" not in str(caught.value)
    assert why in str(caught.value) or "drawing with it fails" in str(caught.value)
    assert not capfd.readouterr().err


def test_rows_sort_by_numbers() -> None:
    """Not by the text of their cells, in which 24,576 bits come before 256 bits."""
    none = timed("all_server", status="skipped", reason="no such payload")
    page = page_of([timed("all_local"), none])
    assert 'data-name="uplink" data-v="' in page
    assert 'class="wide" data-v=""' in page


def test_devices_of_other_sources_are_told_apart() -> None:
    assert device_title("raspberry-pi-4b") == "Raspberry Pi 4B"
    assert device_title("raspberry-pi-4b@survey") == "Raspberry Pi 4B (survey)"
    assert device_title("mine") == "mine"


def test_the_same_store_gives_the_same_bytes(store: Path, tmp_path: Path) -> None:
    first, second = made(store, tmp_path / "a"), made(store, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes(), one


@pytest.mark.usefixtures("one_figure")
def test_a_store_without_the_figures_cells_has_no_figure(tmp_path: Path) -> None:
    rows = [Checked(current(timed("all_local", model="resnet18")))]
    files, warnings = write_report(rows, [], tmp_path, Catalog())
    assert not [path for path in files if path.name.startswith(("fig6.", "fig7."))]
    assert warnings == []
    assert "This store has no row of its cells." in (tmp_path / "figure-fig6.html").read_text()
    assert "The store records no runs." in (tmp_path / "provenance.html").read_text()


def test_an_empty_store_is_refused_with_a_way_to_fill_it(tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    Store.open(path).close()
    with pytest.raises(CoinferError) as refused:
        CliRunner().invoke(
            report, ["--store", str(path), "-o", str(tmp_path / "site")], catch_exceptions=False
        )
    assert str(refused.value) == (
        f"store '{path}' has no rows, so there is nothing to report; "
        f"`coinfer run demo --store {path}` fills it"
    )
    assert not (tmp_path / "site").exists()


# What is there already.


def refusal_of(store: Path, folder: Path) -> str:
    with pytest.raises(CoinferError) as refused:
        CliRunner().invoke(
            report, ["--store", str(store), "-o", str(folder)], catch_exceptions=False
        )
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize("name", ["index.html", "scorecard.json", "fig6.csv"])
def test_files_of_others_are_never_replaced(store: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("mine too")
    assert f"{name}' is there already and `coinfer report` did not write it" in refusal_of(
        store, tmp_path
    )
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: "mine", "notes.txt": "mine too",
    }  # fmt: skip


@pytest.mark.usefixtures("one_figure")
def test_a_folder_or_a_dangling_link_in_the_way_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "index.html").mkdir(parents=True)
    assert "is in the way and no plain file" in refusal_of(store, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").symlink_to(tmp_path / "nowhere")
    assert "is in the way and no plain file" in refusal_of(store, tmp_path / "b")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.usefixtures("one_figure")
def test_a_report_replaces_an_earlier_one_and_leaves_other_files(
    store: Path, tmp_path: Path
) -> None:
    made(store, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    page = tmp_path / "index.html"
    page.write_text(page.read_text().replace("<h1>", "<h1>old "))
    gone = tmp_path / "method-long-gone.html"
    gone.write_text(page.read_text())
    (tmp_path / "method-of-mine.html").write_text("mine")
    made(store, tmp_path)
    assert not gone.exists()
    assert (tmp_path / "method-of-mine.html").read_text() == "mine"
    assert "<h1>old" not in page.read_text()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".coinfer-*"))
    assert MARK in page.read_text()


def test_a_store_as_the_target_is_refused_and_stays(store: Path) -> None:
    before = store.read_bytes()
    assert coinfer(["report", "--store", str(store), "-o", str(store)]) == 2
    assert store.read_bytes() == before


@pytest.mark.usefixtures("one_figure")
def test_a_report_that_breaks_leaves_what_was_there(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    site = tmp_path / "deep" / "site"
    with monkeypatch.context() as broken:
        broken.setattr("reports.site.pages", full)
        assert refusal_of(store, site) == f"cannot write '{site}': No space left on device"
    assert not (tmp_path / "deep").exists()
    made(store, site)
    before = {path.name: path.read_bytes() for path in site.iterdir()}
    with monkeypatch.context() as broken:
        broken.setattr("reports.site.pages", full)
        refusal_of(store, site)
    assert before == {path.name: path.read_bytes() for path in site.iterdir()}


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


def test_rows_at_one_cut_at_a_time_are_no_race() -> None:
    rows = [timed("all_local", 0.5), timed("neurosurgeon", 0.25)]
    rules = rows[0].cell.convention
    assert [one.rules.convention for one in standings(rows, Catalog())] == [rules]
    at_a_cut = [
        replace(row, cell=replace(row.cell, convention=f"{rules}[cut=features.2]")) for row in rows
    ]
    assert standings(at_a_cut, Catalog()) == []
    assert len(standings([*rows, *at_a_cut], Catalog())) == 1


def test_figures_of_what_ships_need_no_row_of_the_store() -> None:
    kinds = {one.reads for one in figures().values()}
    for reads in ("tables", "recipe study", "code study", "comparison"):
        assert reads in kinds
        assert shipped_facts(reads) is not None


# Numbers as people read them.


def test_ratios_of_infinity_are_told() -> None:
    assert rate_text(11.22e6) == "11.2 Mb/s"
    assert rate_text(math.inf) == ""
    assert (times_text(math.inf), times_text(math.nan)) == ("infinite", "")
