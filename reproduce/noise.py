"""Fig. 5 of the three-step paper: how long it takes to send a feature through noise.

At one cut the figure compares what has to be sent, and nothing else: its devices compute in no
time, so that the fastest plan is the one that sends least, and a latency is one of communication.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from coinfer.conventions import convention
from coinfer.errors import printable
from coinfer.presets import built_in_presets
from reproduce.draw import house_style, save
from reproduce.draw_lines import Line, Lines, line_panels
from reproduce.facts import Facts
from reproduce.rate_figures import X_LABELS, csv_text, line_of, missing, points
from reproduce.rates import Point, Sweep, Verified, network_text, sweeps_of
from reproduce.scorecard import joined, latency_evidence
from reproduce.style import method_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panel = tuple[Sweep, list[Point]]

_FOOT_COLUMNS = 168
_TITLES = {"dB": "AWGN channel", "flips": "binary symmetric channel"}
# What the figure compares, by the methods that send it; the input as the convention sends it.
_SENT = {
    "all_server": "input",
    "neurosurgeon": "feature, 32-bit floats",
    "three_step": "learned source coding",
    "three_step[coding=jscc]": "joint source-channel coding",
    "three_step[coding=jscc-bsc]": "joint source-channel coding",
}
_INPUT = {"png": "PNG", "raw8": "8 bits a value", "float32": "32-bit floats"}


def panels(facts: Facts, matrix: str) -> list[Panel]:
    """Return the points of a matrix, one panel per kind of channel.

    Raises:
        CoinferError: when it is no matrix of sweeps on one device.
    """
    found = []
    for sweep in sweeps_of(matrix):
        (own,) = points(facts, sweep).values()
        found.append((sweep, own))
    return found


def data_text(drawn: Sequence[Panel]) -> str:
    """The data behind the figure, as of `reproduce.rate_figures.csv_text`."""
    return "".join(
        csv_text(sweep, {sweep.devices[0]: own}, first=number)
        for number, (sweep, own) in enumerate(drawn)
    )


def footnote(drawn: Sequence[Panel], stem: str) -> list[str]:
    """What a reader must know, as lines."""
    sweep = drawn[0][0]
    every = [point for _, own in drawn for point in own]
    classes = joined(latency_evidence(p.median) for p in every if p.median is not None)
    digest = hashlib.sha256(data_text(drawn).encode()).hexdigest()[:12]
    cut = convention(sweep.convention).cut
    told = [
        f"{network_text(sweep.model, sweep.convention)}, cut after {cut} (the paper: behind "
        f"Conv_4x), convention {sweep.convention.partition('[')[0]}. Communication alone: nothing "
        "takes time to compute, and of plans within the accuracy floor the one that sends least "
        "is drawn. Bits travel at the channel's capacity and arrive without error; joint "
        "source-channel codes go through the noise, uncoded: "
        + "; ".join(filter(None, (_priced(sweep) for sweep, _ in drawn)))
        + ".",
        f"Latency evidence: {classes or 'none'}; accuracy: {Verified.of(every).text}. "
        f"Data: {stem}.csv, SHA-256 {digest}...",
        *(line for sweep, own in drawn for line in missing(sweep, own)),
    ]
    lines = [line for text in told for line in textwrap.wrap(printable(text), _FOOT_COLUMNS)]
    return list(dict.fromkeys(lines))


def _priced(sweep: Sweep) -> str:
    """What a channel takes a second, and whose choice that is."""
    link = built_in_presets().link(sweep.places[0].link)
    if link.bandwidth_hz is not None:
        return f"two elements a symbol, {link.bandwidth_hz / 1e6:g} million symbols a second"
    if link.uses_per_s is not None:
        return f"{link.uses_per_s / 1e6:g} million bits a second ({link.assumption})"
    return ""


def draw(drawn: Sequence[Panel], stem: str) -> Figure:
    """Draw the figure (to be used in `house_style`)."""
    return line_panels(
        [
            Lines(
                f"({letter}) {_TITLES.get(sweep.unit, sweep.unit)}",
                tuple(
                    _named(line_of(here), sweep, method)
                    for method in sweep.methods
                    for here in [[point for point in own if point.method == method]]
                    if any(point.median is not None for point in here)
                ),
                _silent(sweep, own),
                X_LABELS[sweep.unit],
            )
            for letter, (sweep, own) in zip("abcdefgh", drawn, strict=False)
        ],
        "",
        "Communication latency (s), log scale",
        footnote(drawn, stem),
        log_x=False,
    )


def _named(line: Line, sweep: Sweep, method: str) -> Line:
    return replace(line, style=replace(line.style, label=_label(sweep, method)))


def _label(sweep: Sweep, method: str) -> str:
    """What a method sends under the convention of a sweep, for people."""
    label = _SENT.get(method, method_style(method).label)
    coder = convention(sweep.convention).input_coder
    return f"{label}, {_INPUT.get(coder, coder)}" if method == "all_server" else label


def _silent(sweep: Sweep, own: Sequence[Point]) -> str:
    """What has not a single point in a panel."""
    names = [
        _label(sweep, method)
        for method in sweep.methods
        if all(point.median is None for point in own if point.method == method)
    ]
    return f"no result: {', '.join(names)}" if names else ""


def write(facts: Facts, folder: Path, stem: str, title: str, matrix: str = "") -> list[Path]:
    """Write the figure (SVG, PDF, PNG) and its data (CSV) into a folder; return the files.

    Args:
        facts: rows of the matrix.
        folder: where.
        stem: of the files' names.
        title: of the figure.
        matrix: the shipped matrix; '' for the one of that stem.
    """
    drawn = panels(facts, matrix or stem)
    data = folder / f"{stem}.csv"
    data.write_text(data_text(drawn), encoding="utf-8", newline="")
    with house_style():
        return [*save(draw(drawn, stem), folder, stem, title), data]
