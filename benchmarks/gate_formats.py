"""What the gate found, as text for people, annotations for GitHub, Markdown, or JUnit XML."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from xml.etree import ElementTree

from benchmarks.cells import Cell
from benchmarks.gate import Comparison, Finding, Verdict
from benchmarks.outcomes import place
from benchmarks.store_rows import counted
from coinfer.errors import printable

FORMATS = ("text", "github", "md", "junit")

_HEADINGS: dict[Verdict, str] = {
    "regressed": "Regressed",
    "unsure": "Worse, not significantly",
    "improved": "Improved",
    "new": "New",
}


def formatted(
    found: Comparison, format: str, baseline: str, show: int, *, advised: bool = True
) -> str:
    """Return a comparison as text of a format, its last line ended.

    Args:
        found: the comparison.
        format: one of FORMATS.
        baseline: path of the baseline, as the user gave it.
        show: findings shown of each kind at most, 0 for all; JUnit and GitHub show all.
        advised: whether text ends with what to do.
    """
    writers: dict[str, Callable[[], Iterable[str]]] = {
        "text": lambda: _text(found, baseline, show, advised),
        "github": lambda: _github(found, baseline),
        "md": lambda: _markdown(found, baseline, show),
        "junit": lambda: _junit(found),
    }
    return "".join(f"{line}\n" for line in writers[format]())


def summary(found: Comparison) -> str:
    """Return a comparison in a line: `2 regressed, 1 improved, 1 new; 48 cells compared`."""
    counts = {verdict: len(found.of(verdict)) for verdict in _HEADINGS}
    words = {"unsure": "worse but not significantly"}
    told = [f"{number} {words.get(name, name)}" for name, number in counts.items() if number]
    tests = f", {counted(found.tests, 'figure')} tested over seeds" if found.tests else ""
    left = f", {found.uncompared} known of some seeds only" if found.uncompared else ""
    head = f"{', '.join(told) or 'nothing moved'}; {counted(found.cells, 'cell')} compared"
    return f"{head}{tests}{left}"


def advice(found: Comparison) -> str:
    """Return what to do about a comparison, '' for nothing."""
    if found.of("regressed"):
        return "if this is meant: --update accepts it, and the diff of the baseline says so"
    if found.of("improved") or found.of("new"):
        return "--update makes this the baseline"
    return ""


def _text(found: Comparison, baseline: str, show: int, advised: bool) -> Iterator[str]:
    yield printable(f"{summary(found)} with '{baseline}'")
    for verdict in _HEADINGS:
        told = _together(found.of(verdict))
        for one, where in told[: show or None]:
            text = f"{verdict:9}  {moved(one)}  {one.cell.method}: {where}  ({one.note})"
            yield printable(text)
        yield from _more(len(told), show, "")
    if advised and advice(found):
        yield advice(found)


def _together(findings: list[Finding]) -> list[tuple[Finding, str]]:
    """Findings with where they are; of those that say the same without numbers, one for all."""
    alike: dict[object, list[Finding]] = defaultdict(list)
    for i, one in enumerate(findings):
        number = isinstance(one.old, float)
        alike[i if number else (one.what, one.cell.method, one.old, one.new, one.note)].append(one)
    return [
        (
            members[0],
            place(members[0].cell)
            if len(members) == 1
            else f"{len(members)} places, the first is {place(members[0].cell)}",
        )
        for members in alike.values()
    ]


def _more(told: int, show: int, sign: str) -> Iterator[str]:
    if show and told > show:
        yield f"{sign}and {told - show} more; --show 0 tells all"


def moved(finding: Finding) -> str:
    """Return what moved: `latency_s 0.1 -> 0.2 (x2)`."""
    ratio = "" if finding.ratio is None else f" (x{finding.ratio:.4g})"
    return f"{finding.what} {_value(finding.old)} -> {_value(finding.new)}{ratio}"


def _value(value: float | str | None) -> str:
    return "nothing" if value is None else f"{value:.6g}" if isinstance(value, float) else value


# GitHub: https://docs.github.com/actions/reference/workflow-commands-for-github-actions


def _github(found: Comparison, baseline: str) -> Iterator[str]:
    commands = {"regressed": "error", "unsure": "warning", "improved": "notice", "new": "notice"}
    for one in found.findings:
        title = f"{one.verdict}: {one.what} of {one.cell.method}"
        at = f",line={one.line}" if one.line else ""
        properties = f"file={_property(baseline)}{at},title={_property(title)}"
        message = f"{moved(one)}, {one.cell.method}: {place(one.cell)} ({one.note})"
        yield f"::{commands[one.verdict]} {properties}::{_message(message)}"
    yield _message(f"coinfer gate: {summary(found)}")


def _message(text: str) -> str:
    """The text of a workflow command: one line, in which % is the escape."""
    return printable(text.replace("\r", " ").replace("\n", " ")).replace("%", "%25")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _markdown(found: Comparison, baseline: str, show: int) -> Iterator[str]:
    verdict = "failed" if found.exit_code else "passed"
    yield f"### coinfer gate: {verdict}"
    yield ""
    yield markdown_text(f"{summary(found)} with '{baseline}'")
    for verdict_, heading in _HEADINGS.items():
        told = _together(found.of(verdict_))
        if not told:
            continue
        yield ""
        yield f"**{heading}**"
        yield ""
        yield "| what | old | new | ratio | method | where | why |"
        yield "|---|---|---|---|---|---|---|"
        for one, where in told[: show or None]:
            ratio = "" if one.ratio is None else f"{one.ratio:.4g}"
            values = (one.what, _value(one.old), _value(one.new), ratio)
            texts = (*values, one.cell.method, where, one.note)
            yield f"| {' | '.join(map(markdown_text, texts))} |"
        yield from _more(len(told), show, "\n")
    if advice(found):
        yield ""
        yield markdown_text(advice(found))


def markdown_text(text: str) -> str:
    """Return text that neither ends a table's field nor is taken for a mark of Markdown or HTML."""
    escaped = "".join(f"\\{sign}" if sign in r"\`*_[]|~#" else sign for sign in printable(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _junit(found: Comparison) -> Iterator[str]:
    """A test for every method in every place that either has: it fails if anything regressed."""
    by_cell: dict[Cell, list[Finding]] = defaultdict(list)
    for one in found.findings:
        by_cell[one.cell].append(one)
    suite = ElementTree.Element("testsuite", name="coinfer gate")
    failures = skipped = 0
    for cell, reason in found.asked.items():
        case = ElementTree.SubElement(
            suite, "testcase", classname=printable(cell.method), name=printable(place(cell))
        )
        bad = [one for one in by_cell[cell] if one.verdict == "regressed"]
        rest = [one for one in by_cell[cell] if one.verdict != "regressed"]
        if bad:
            failures += 1
            failure = ElementTree.SubElement(case, "failure", message=printable(moved(bad[0])))
            failure.text = "\n".join(map(_told, bad))
        elif reason:
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=printable(reason))
        if rest:
            ElementTree.SubElement(case, "system-out").text = "\n".join(map(_told, rest))
    suite.attrib |= {
        "tests": str(len(found.asked)),
        "failures": str(failures),
        "errors": "0",
        "skipped": str(skipped),
    }
    ElementTree.indent(suite)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield ElementTree.tostring(suite, encoding="unicode")


def _told(finding: Finding) -> str:
    return printable(f"{finding.verdict}: {moved(finding)} ({finding.note})")
