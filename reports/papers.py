"""The pages of the documentation on methods and papers, as Markdown.

They are made from the method cards, the claims, the findings and the verdicts that rows give;
nothing of it is typed a second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coinfer.method import MethodCard
from methods.registry import installed_methods
from reproduce.claims import PAPERS, Claim, Finding, Paper, papers
from reproduce.facts import Facts
from reproduce.figures import Figure, figures
from reproduce.findings import Found, answer_all
from reproduce.present import as_markdown, verdict_counts
from reproduce.scorecard import LABELS, Judged, judge_all

_FIDELITY = {
    "paper_exact": "as its paper has it",
    "paper_choices": "by its paper, which leaves choices open; they are below",
    "repo_derived": "from its authors' code",
    "reconstruction": "a reconstruction: its paper does not say enough",
    "ours": "our own",
}


@dataclass(frozen=True)
class Verdicts:
    """Every claim with its verdict, and every finding with its answer."""

    judged: tuple[Judged, ...]
    answers: tuple[Found, ...]


def judged_by_rows() -> Verdicts:
    """Judge all claims by rows that are computed now, and by the measurement tables that ship.

    What takes longer than seconds is not computed; its claims name the command that does.
    """
    from reproduce.collect import facts_by_computing

    claims, findings = _all()
    return _judged(facts_by_computing(claims, findings))


def judged_by_nothing() -> Verdicts:
    """Judge all claims by no rows at all: every one is open. For drafts of the pages."""
    return _judged(Facts.of([]))


def _all() -> tuple[list[Claim], list[Finding]]:
    every = papers().values()
    claims = [claim for paper in every for claim in paper.claims]
    return claims, [finding for paper in every for finding in paper.findings]


def _judged(facts: Facts) -> Verdicts:
    claims, findings = _all()
    return Verdicts(tuple(judge_all(claims, facts)), tuple(answer_all(findings, facts)))


@dataclass(frozen=True)
class _Page:
    """What a paper's page is about.

    Attributes:
        slug: name of the page.
        title: of the paper.
        reference: authors, title, venue, year.
        paper: its claims, where some are scored.
        cards: of the methods that it describes.
    """

    slug: str
    title: str
    reference: str
    paper: Paper | None
    cards: tuple[MethodCard, ...]


def method_pages(verdicts: Verdicts) -> dict[str, str]:
    """Return the pages on methods and papers, by their path below the documentation's folder."""
    methods = installed_methods()
    cards = [cls.card for name, cls in methods.classes.items() if _ours(methods.origins[name])]
    found = _pages(cards, papers())
    of_card = {card.name: page for page in reversed(found) for card in page.cards}
    return {
        "methods.md": _methods_page(cards, of_card),
        "papers/index.md": _index(found, verdicts),
        **{f"papers/{page.slug}.md": _page(page, verdicts) for page in found},
    }


def _ours(origin: str) -> bool:
    """Whether a method ships: the documentation is that of this package alone."""
    return origin == "built-in"


def _pages(cards: Sequence[MethodCard], known: Mapping[str, Paper]) -> list[_Page]:
    """Return a page per paper whose claims are scored, and one per other paper with a method.

    A baseline of two papers is on the pages of both.
    """
    pages = []
    published = [card for card in cards if card.fidelity != "ours"]
    for paper in known.values():
        own = tuple(card for card in published if _describes(paper, card))
        title = _title(paper.reference)
        pages.append(_Page(PAPERS[paper.letter], title, paper.reference, paper, own))
    told = {card.name for page in pages for card in page.cards}
    for card in (card for card in published if card.name not in told):
        title = _title(card.reference)
        slug = _plain(card.name).replace(" ", "-")
        pages.append(_Page(slug, title, card.reference, None, (card,)))
    return pages


def _describes(paper: Paper, card: MethodCard) -> bool:
    """Whether a card's method is of a paper: it names its title, or is a baseline of it."""
    if _plain(_title(paper.reference)) in _plain(card.reference):
        return True
    author, year = paper.reference.split()[0], paper.reference[-4:]
    baseline = card.reference.startswith("Baseline")
    return baseline and author in card.reference and year in card.reference


def _title(reference: str) -> str:
    """Return the title in a reference: what follows the authors, without what is in brackets."""
    return re.sub(r"\s*\([^)]*\)$", "", reference.split(", ", 2)[1])


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def _index(found: Sequence[_Page], verdicts: Verdicts) -> str:
    rows = [
        f"| [{page.title}]({page.slug}.md) | {_names(page.cards)} | {_counted(page, verdicts)} |"
        for page in found
    ]
    listed = "\n".join(page.slug for page in found)
    return "\n".join(
        [
            "# Papers",
            "",
            "What every paper says, what of it is built here, and where its claims stand. Verdicts "
            "are computed from rows when this page is built.",
            "",
            "| paper | methods | claims |",
            "|---|---|---|",
            *rows,
            "",
            f"```{{toctree}}\n:hidden:\n\n{listed}\n```",
            "",
        ]
    )


def _page(page: _Page, verdicts: Verdicts) -> str:
    blocks = [f"# {page.title}", f"{page.reference}."]
    for card in page.cards:
        blocks += _card(card)
    if not page.cards:
        blocks.append("No method of this paper ships.")
    if page.paper is None:
        blocks.append("No claim of this paper is scored.")
        return "\n\n".join(blocks) + "\n"
    letter = page.paper.letter
    blocks += ["## What we reproduce", *_reproduced(letter)]
    judged = [one for one in verdicts.judged if one.claim.paper == letter]
    answers = [one for one in verdicts.answers if one.finding.paper == letter]
    blocks += [
        "## Claims, and where they stand",
        f"{_counted(page, verdicts)}. In a terminal: `coinfer scorecard --paper {letter}`.",
        _scorecard(judged, answers),
    ]
    if not answers:
        blocks.append("No contradiction between this paper's text and numbers was looked into.")
    return "\n\n".join(blocks) + "\n"


def _reproduced(letter: str) -> list[str]:
    made = [figure for figure in figures().values() if figure.paper == letter]
    if not made:
        return ["No figure of this paper is drawn; its claims about single numbers are scored."]
    return ["\n".join(_figure(figure) for figure in made)]


def _figure(figure: Figure) -> str:
    return f"- {figure.title}: `coinfer reproduce {figure.name}`"


def _counted(page: _Page, verdicts: Verdicts) -> str:
    """Return how many claims got which verdict, in words."""
    if page.paper is None:
        return "none scored"
    judged = [one for one in verdicts.judged if one.claim.paper == page.paper.letter]
    counts = verdict_counts(judged)
    kinds = [f"{number} {LABELS.get(name, name)}" for name, number in counts.items() if number]
    return f"{len(judged)}: {', '.join(kinds)}"


def _scorecard(judged: Sequence[Judged], answers: Sequence[Found]) -> str:
    """Return the scorecard's Markdown without its title, its headings a level lower."""
    lines = as_markdown(judged, answers, "").splitlines()[3:]
    return "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines).strip()


def _card(card: MethodCard) -> list[str]:
    """Return what a card says, as blocks of Markdown."""
    blocks = [
        f"## {card.title}: `{card.name}`",
        _escaped(card.idea),
        "\n".join(f"- {name}: {_escaped(text)}" for name, text in _facts(card)),
    ]
    if card.open_choices:
        rows = [
            f"| {_escaped(choice.id)} | {_escaped(choice.chosen)} | "
            f"{_escaped('; '.join(choice.alternatives))} | {_escaped(choice.reason)} |"
            for choice in card.open_choices
        ]
        head = ["| left open by the paper | taken | instead | because |", "|---|---|---|---|"]
        blocks.append("\n".join([*head, *rows]))
    if card.bibtex:
        blocks.append(f"```text\n{card.bibtex}\n```")
    return blocks


def _facts(card: MethodCard) -> Iterable[tuple[str, str]]:
    yield "reference", card.reference
    yield "built", _FIDELITY[card.fidelity]
    yield (
        "cuts at",
        ", ".join(kind for kind in ("input", "interior", "output") if kind in card.cuts),
    )
    yield "prunes", card.prunes
    if card.codec:
        yield "encodes", ", ".join(card.codec)
    yield "accuracies", card.accuracy_signal
    yield "minimises", card.objective
    yield "its plan depends on", ", ".join(sorted(card.sees)) or "no part of the scenario"


def _methods_page(cards: Sequence[MethodCard], of_card: Mapping[str, _Page]) -> str:
    rows = []
    for card in cards:
        page = of_card.get(card.name)
        where = _escaped(card.reference)
        if page is not None:
            where = f"[{page.title}](papers/{page.slug}.md)"
        rows.append(f"| `{card.name}` | {_escaped(card.idea)} | {where} |")
    head = ["# Methods", "", "The methods that ship; `coinfer list methods` has yours too.", ""]
    return "\n".join([*head, "| method | idea | paper |", "|---|---|---|", *rows, ""])


def _names(cards: Sequence[MethodCard]) -> str:
    return ", ".join(f"`{card.name}`" for card in cards) or "none"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
