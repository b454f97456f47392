"""A page per method: its card, its open choices, where it wins and loses, what deviates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.numbers import base_name, file_stem, percent_text
from reports.overview import device_title, ink_of, span, summary_view
from reports.standings import Standings
from reproduce.style import method_style

if TYPE_CHECKING:
    from benchmarks.catalog import Catalog
    from coinfer.method import MethodCard
    from reproduce.claims import Claim

_UNDECIDED_BY_PAPER = ("deviates", "not reproducible")

# A regret from here on is told as a ratio (`reports.numbers.percent_text`).
_MANY = 10.0

CARD = (
    ("cuts", "Cuts it may choose"),
    ("prunes", "Prunes"),
    ("codec", "Codecs"),
    ("payload", "Payload"),
    ("accuracy_signal", "Accuracies from"),
    ("objective", "Minimises"),
    ("constraint", "Accuracy floor"),
    ("sees", "Sees of the scenario"),
    ("stochastic", "Draws"),
    ("phases", "Spends in"),
    ("fidelity", "Fidelity to its paper"),
)
"""Fields of a card that the page shows, with their titles."""


def method_views(
    standings: Sequence[Standings],
    claims: Sequence[tuple[Claim, Mapping[str, Any]]],
    catalog: Catalog,
) -> list[dict[str, Any]]:
    """What the pages show of every method: the registry's, then strangers' of the rows.

    Args:
        standings: of the rows.
        claims: every claim with its view.
        catalog: with the methods known.
    """
    classes = catalog.methods.classes
    strangers = sorted(
        {
            base_name(method)
            for one in standings
            for method in one.methods
            if base_name(method) not in classes
        }
    )
    return [
        _view(name, classes[name].card if name in classes else None, standings, claims, catalog)
        for name in (*classes, *strangers)
    ]


def method_page(name: str) -> str:
    """The file of a method's page."""
    return f"method-{file_stem(base_name(name))}.html"


def _view(
    name: str,
    card: MethodCard | None,
    standings: Sequence[Standings],
    claims: Sequence[tuple[Claim, Mapping[str, Any]]],
    catalog: Catalog,
) -> dict[str, Any]:
    own = [view for claim, view in claims if name in _named(claim)]
    return {
        "name": name,
        "title": card.title if card else name,
        "label": method_style(name).label,
        "ink": ink_of(name),
        "page": method_page(name),
        "known": card is not None,
        "origin": catalog.methods.origins.get(name, "") if card else "",
        "idea": card.idea if card else "",
        "reference": card.reference if card else "",
        "bibtex": _laid_out(card.bibtex) if card else "",
        "card": [(title, _told(getattr(card, field))) for field, title in CARD] if card else [],
        "options": _options(catalog, name) if card else [],
        "choices": card.open_choices if card else (),
        "places": [
            place
            for one in standings
            for method in one.methods
            if base_name(method) == name
            for place in [_place(one, method)]
        ],
        "claims": own,
        "failing": [view for view in own if view["verdict"] in _UNDECIDED_BY_PAPER],
        "open": [view for view in own if view["open"]],
        "held": [
            view for view in own if not view["open"] and view["verdict"] not in _UNDECIDED_BY_PAPER
        ],
    }


def _named(claim: Claim) -> set[str]:
    """Methods that a claim compares by name."""
    return {base_name(method) for method in (*claim.fast, *claim.slow)}


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes, so that a seed changes its answer" if value else "no"
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or "nothing"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value).replace("_", " ")


def _options(catalog: Catalog, name: str) -> list[tuple[str, str]]:
    """Options of a method with their defaults."""
    fields = dataclasses.fields(catalog.methods.classes[name])
    return [
        (field.name, "no default" if field.default is dataclasses.MISSING else str(field.default))
        for field in fields
    ]


def _laid_out(bibtex: str) -> str:
    """A BibTeX entry, one field a line."""
    depth, out = 0, []
    for sign in bibtex:
        depth += (sign == "{") - (sign == "}")
        out.append(sign)
        if sign == "," and depth == 1:
            out.append("\n  ")
    return "".join(out).replace("\n   ", "\n  ")


def _place(one: Standings, method: str) -> dict[str, Any]:
    """Where a method wins and loses under one set of rules, device by device."""
    return {
        "title": one.rules.title,
        "ref": method,
        "summary": summary_view(one.summary(method), one),
        "devices": [_on_device(one, method, device) for device in one.devices],
    }


def _on_device(one: Standings, method: str, device: str) -> dict[str, Any]:
    rates = {scenario.case.place: scenario.rate_bps for scenario in one.scenarios}
    wins, losses, silent = [], [], []
    for place in one.places:
        scenario = one.at(device, place)
        if scenario is None:
            continue
        if scenario.points[method].median is None:
            silent.append((place, scenario.points[method].told))
        elif method in scenario.winners:
            wins.append(place)
        else:
            losses.append((scenario.regret(method), place))
    worst = max(losses, default=None)
    return {
        "title": device_title(device),
        "wins": len(wins),
        "of": len(wins) + len(losses) + len(silent),
        "where": _runs(wins, one.places, rates),
        "worst": ""
        if worst is None
        else f"{_slower(worst[0])} the best known plan at {span([worst[1]], rates)}",
        "silent": sorted({told for _, told in silent}),
        "silent_count": len(silent),
    }


def _slower(regret: float) -> str:
    """A regret as the beginning of a comparison."""
    text = percent_text(regret)
    return f"{text} as" if regret >= _MANY else f"{text} slower than"


def _runs(wins: Sequence[str], places: Sequence[str], rates: Mapping[str, float]) -> str:
    """Where it wins, neighbouring links merged."""
    found: list[list[str]] = []
    last = -2
    for i, place in enumerate(places):
        if place in wins:
            if i == last + 1:
                found[-1].append(place)
            else:
                found.append([place])
            last = i
    return ", ".join(span(run, rates) for run in found)
