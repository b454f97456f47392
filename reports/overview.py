"""The overview: which method wins where, by how much, and how far that can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from reports.charts import Dot, Series, line_chart, scatter_chart
from reports.numbers import percent_text, rate_text, seconds, times_text
from reports.standings import (
    BASELINE,
    Prediction,
    Scenario,
    Shift,
    Spread,
    Standings,
    Summary,
    method_codes,
)
from reproduce.rate_figures import TITLES
from reproduce.style import BLACK, method_style

if TYPE_CHECKING:
    from reports.standings import Rules

MARKS_OF_STANDING = {
    "held": "measured, floor held",
    "broken": "measured, floor broken",
    "undecided": "measured, floor undecided",
    "unchanged": "network unchanged",
    "predicted": "accuracy predicted",
}


SIGNS_OF_STANDING = {
    "held": "●",
    "unchanged": "●",
    "undecided": "◐",
    "broken": "✕",
    "predicted": "○",
}
"""What is known of a plan's accuracy, as the figures' markers show it."""


def ink_of(method: str) -> str:
    """The colour of a method's line; black is the colour of the text, so that it shows in dark."""
    ink = method_style(method).ink
    return "currentColor" if ink == BLACK else ink


def device_title(device: str) -> str:
    """A device for people; one that is not the preset of the plain name tells its source."""
    name, _, source = device.partition("@")
    title = TITLES.get(name, name)
    return f"{title} ({source})" if source else title


def standings_view(one: Standings) -> dict[str, Any]:
    """Everything that the overview shows of the rows under the same rules."""
    codes = method_codes(one.methods)
    rates = _rates(one)
    return {
        "title": one.rules.title,
        "rules": one.rules,
        "legend": [
            {
                "method": method,
                "code": codes[method],
                "label": method_style(method).label,
                "ink": ink_of(method),
                "reference": method in one.references,
            }
            for method in one.methods
        ],
        "places": [_place(place, rates.get(place, math.inf)) for place in one.places],
        "devices": [
            {
                "name": device,
                "title": device_title(device),
                "cells": [_heat(one.at(device, place), codes) for place in one.places],
                "told": told(one, device),
            }
            for device in one.devices
        ],
        "charts": _charts(one, rates),
        "summaries": [summary_view(one.summary(method), one) for method in one.methods],
        "regrets": [_regrets(one, device) for device in one.devices],
        "plans": one.plans,
        "scenarios": len(one.scenarios),
        "headline": headline(one),
    }


def _rates(one: Standings) -> dict[str, float]:
    return {scenario.case.place: scenario.rate_bps for scenario in one.scenarios}


def _place(place: str, rate_bps: float) -> dict[str, Any]:
    """A column: a swept rate by its number, a named link by its name and number."""
    rate = rate_text(rate_bps)
    named = not place.startswith("rate[")
    number, _, unit = rate.partition(" ")
    return {"name": place if named else "", "number": number, "unit": unit, "rate": rate}


def _axis_name(place: str, rate_bps: float) -> str:
    """A place on a chart's axis."""
    if not place.startswith("rate["):
        return place
    number, _, unit = rate_text(rate_bps).partition(" ")
    return f"{float(number):.3g} {unit[:1]}" if number else place


def _heat(scenario: Scenario | None, codes: Mapping[str, str]) -> dict[str, Any]:
    """A cell of the heat map: who wins, by how much, and what is known of the plan."""
    if scenario is None or not scenario.winners:
        return {"code": "", "ink": "", "lead": "", "told": "no answer", "state": "", "sign": ""}
    winners = scenario.winners
    first = winners[0]
    labels = " and ".join(method_style(name).label for name in winners)
    point = scenario.points[first]
    lead = scenario.lead
    gain = scenario.speedup(first)
    bits = [f"{labels} {'tie' if len(winners) > 1 else 'wins'}: {seconds(scenario.answers[first])}"]
    if len(winners) == 1 and math.isfinite(lead):
        second = list(scenario.answers)[1]
        bits.append(f"{times_text(lead)} over {method_style(second).label}")
    if first != BASELINE and math.isfinite(gain):
        bits.append(f"{times_text(gain)} over All_Local")
    bits.append(f"regret {percent_text(max(0.0, scenario.regret(first)))}")
    standing = point.standing or "predicted"
    bits += [point.evidence, MARKS_OF_STANDING[standing]]
    return {
        "code": "=".join(codes[name] for name in winners[:2]) + ("+" if len(winners) > 2 else ""),
        "ink": ink_of(first),
        "sign": SIGNS_OF_STANDING[standing],
        "lead": "tie" if len(winners) > 1 else times_text(lead),
        "told": "; ".join(bits),
        "state": standing,
    }


def told(one: Standings, device: str) -> list[dict[str, str]]:
    """Who wins on a device from where to where, link by link merged."""
    rates = _rates(one)
    row = [
        (scenario.winners, place)
        for place in one.places
        for scenario in [one.at(device, place)]
        if scenario is not None
    ]
    found = []
    for winners, members in groupby(row, key=lambda item: item[0]):
        places = [place for _, place in members]
        names = " = ".join(method_style(name).label for name in winners) or "nobody"
        found.append({"who": names, "where": span(places, rates)})
    return found


def span(places: Sequence[str], rates: Mapping[str, float]) -> str:
    """Neighbouring links, for people."""
    ends = [
        rate_text(rates[place]) if place.startswith("rate[") else place
        for place in (places[0], places[-1])
    ]
    return ends[0] if len(places) == 1 else f"{ends[0]} to {ends[1]}"


def headline(one: Standings) -> str:
    """One sentence: who wins most often."""
    competing = [one.summary(m) for m in one.methods if m not in one.references]
    if len(competing) < 2:
        return "One method alone: nothing to compare."
    best = max(competing, key=lambda summary: summary.wins)
    label = method_style(best.method).label
    text = f"{label} is fastest in {best.wins} of {best.scenarios} scenarios"
    text += f" ({best.ties} tied)" if best.ties else ""
    if best.lead.count:
        text += f", by a median of {times_text(best.lead.middle)} over the second best"
        text += f" (up to {times_text(best.lead.high)})" if best.lead.count > 1 else ""
    return text + "."


def _charts(one: Standings, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Speedup over All_Local, a chart per device."""
    found = []
    for device in one.devices:
        series = []
        for method in one.methods:
            values = tuple(
                math.nan if scenario is None else scenario.speedup(method)
                for place in one.places
                for scenario in [one.at(device, place)]
            )
            if method != BASELINE and method not in one.references:
                style = method_style(method)
                dashes = tuple(1.6 * d for d in style.dashes)
                series.append(Series(style.label, ink_of(method), values, dashes))
        chart = line_chart(
            series,
            [_axis_name(place, rates.get(place, math.inf)) for place in one.places],
            f"Speedup over All_Local on {device_title(device)}",
            "speedup over All_Local, log scale",
            "uplink rate (b/s)" if any(p.startswith("rate[") for p in one.places) else "link",
        )
        if chart:
            found.append({"title": device_title(device), "svg": chart})
    return found


def summary_view(summary: Summary, one: Standings) -> dict[str, Any]:
    """A line of the table of methods."""
    style = method_style(summary.method)
    return {
        "method": summary.method,
        "label": style.label,
        "ink": ink_of(summary.method),
        "reference": summary.method in one.references,
        "wins": summary.wins,
        "answered": summary.answered,
        "scenarios": summary.scenarios,
        "speedup": _spread(summary.speedup, times_text),
        "lead": _spread(summary.lead, times_text),
        "regret": _spread(summary.regret, percent_text),
        "evidence": summary.evidence,
    }


def _spread(values: Spread, text: Any) -> dict[str, Any]:
    if not values.count:
        return {"middle": "", "range": "", "value": ""}
    between = f"{text(values.low)} to {text(values.high)}" if values.count > 1 else ""
    return {"middle": text(values.middle), "range": between, "value": repr(values.middle)}


def _regrets(one: Standings, device: str) -> dict[str, Any]:
    """Regret of every method on a device, over all links."""
    rows = []
    for method in one.methods:
        cells = []
        for place in one.places:
            scenario = one.at(device, place)
            value = math.nan if scenario is None else scenario.regret(method)
            # On a scale of decades: 1 % is pale, 10,000 % is full.
            shade = min(1.0, max(0.0, (math.log10(max(value, 1e-3)) + 3) / 5))
            cells.append(
                {
                    "text": _small_percent(value),
                    "shade": 0.0 if math.isnan(value) or value <= 0 else round(shade, 2),
                }
            )
        rows.append({"label": method_style(method).label, "cells": cells})
    return {"title": device_title(device), "rows": rows}


def _small_percent(value: float) -> str:
    """Regret in a narrow cell: percent, or how many times as long."""
    if math.isnan(value):
        return ""
    if abs(value) < 5e-4:
        return "0"
    if value >= 9.995:
        return f"{float(f'{value + 1:.2g}'):g}x"
    return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:.2g} %"


def predictions_view(found: Sequence[Prediction]) -> dict[str, Any]:
    """Predicted against measured accuracies: the chart, and the errors by method."""
    dots = [
        Dot(
            method_style(one.method).label,
            ink_of(one.method),
            100 * one.predicted,
            100 * one.measured,
            hollow=one.floor == "broken",
        )
        for one in found
    ]
    methods = []
    for method in dict.fromkeys(one.method for one in found):
        errors = [100 * (o.predicted - o.measured) for o in found if o.method == method]
        floors = [one.floor for one in found if one.method == method]
        methods.append(
            {
                "label": method_style(method).label,
                "plans": len(errors),
                "mean": f"{sum(errors) / len(errors):+.2f}",
                "absolute": f"{sum(map(abs, errors)) / len(errors):.2f}",
                "worst": f"{max(errors, key=abs):+.2f}",
                "held": floors.count("held"),
                "broken": floors.count("broken"),
                "undecided": len(floors) - floors.count("held") - floors.count("broken"),
            }
        )
    chart = scatter_chart(
        dots, "Predicted against measured accuracy", "predicted accuracy", "measured accuracy"
    )
    return {"chart": chart, "methods": methods, "plans": len(found)}


def shifts_view(found: Sequence[Shift]) -> list[dict[str, Any]]:
    """Each paper's convention against `harmonised`, by rules."""
    groups: dict[Rules, list[Shift]] = {}
    for shift in found:
        groups.setdefault(shift.rules, []).append(shift)
    return [
        {
            "title": rules.title,
            "convention": rules.convention,
            "rows": [
                {
                    "label": method_style(shift.method).label,
                    "scenarios": shift.scenarios,
                    "ratio": _spread(shift.ratio, times_text),
                    "wins": shift.wins,
                    "wins_harmonised": shift.wins_harmonised,
                }
                for shift in shifts
            ],
        }
        for rules, shifts in groups.items()
    ]
