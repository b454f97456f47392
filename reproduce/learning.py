"""How CPCDRL's agents learn: reward against episode (Tang et al. 2024, Fig. 3).

The searches are those of the method in the paper's scenario, a run per seed, on a predictor fitted
to plans that ship; nothing is trained here but the agents.
"""

from __future__ import annotations

import csv
import hashlib
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from numpy.typing import NDArray

from coinfer.errors import CoinferError
from reproduce.claims import Claim
from reproduce.draw import house_style, save
from reproduce.draw_lines import Fill, Line, Lines, line_panels
from reproduce.facts import Facts, Gap
from reproduce.rates import network_text
from reproduce.scorecard import Used
from reproduce.style import CURVE_STYLES, MethodStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from coinfer.search.cpcdrl import Run

Floats = NDArray[np.float64]

METHOD, CONVENTION = "cpcdrl", "cpcdrl2024"
MODELS = ("mobilenet_v1", "vgg16")
"""The paper's networks, panels (a) and (b)."""

SEEDS = 10
WINDOW = 10
"""Episodes over which a curve is averaged before it is drawn or judged."""

TOLERANCE = 0.1
"""Share of a curve's rise within which it has settled."""

_STABLE = 75
_FOOT_COLUMNS = 168
_QUARTILES = (25.0, 50.0, 75.0)
_FLOOR_DASHES = (4.0, 1.6)


@dataclass(frozen=True, eq=False)
class Curves:
    """What S searches on a network saw, episode by episode.

    Attributes:
        model: the network.
        reward, latency_s, accuracy: (S, E) each, by seed.
        floor: accuracy floor of the reward.
    """

    model: str
    reward: Floats
    latency_s: Floats
    accuracy: Floats
    floor: float

    @property
    def settled(self) -> tuple[int, ...]:
        """The episode from which every seed's averaged reward stays where it ends."""
        return tuple(settles(averaged(one)) for one in self.reward)

    @property
    def together(self) -> int:
        """The episode from which the median of the seeds' averaged rewards does."""
        return settles(np.median([averaged(one) for one in self.reward], axis=0))


def averaged(values: Floats, window: int = WINDOW) -> Floats:
    """Return means over the last `window` values, of fewer at the start, (E,)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - window)
    means: Floats = (total[end] - total[start]) / (end - start)
    return means


def settles(curve: Floats, tolerance: float = TOLERANCE) -> int:
    """Return the first episode (from 1) from which a curve stays near its end.

    Near is within a share of the range between its least value and the mean of its last quarter.
    """
    last = float(curve[-max(1, len(curve) // 4) :].mean())
    band = tolerance * abs(last - float(curve.min()))
    (outside,) = np.nonzero(np.abs(curve - last) > band)
    return 1 if not len(outside) else int(outside[-1]) + 2


def searched(
    models: Sequence[str] = MODELS, seeds: int = SEEDS, jobs: int = 1, *, quiet: bool = False
) -> tuple[Curves, ...]:
    """Run the method once per network and seed in the paper's scenario.

    Args:
        models: the networks.
        seeds: of each.
        jobs: worker processes, 0 for one per core; the curves are the same for any number.
        quiet: whether to show no progress.

    Raises:
        CoinferError: when the method has nothing to learn from.
    """
    from joblib import Parallel, delayed

    asked = [(model, seed) for model in models for seed in range(seeds)]
    found: dict[str, list[tuple[Run, float]]] = {model: [] for model in models}
    answers = Parallel(n_jobs=jobs or -1, return_as="generator")(
        delayed(_search)(*one) for one in asked
    )
    for number, ((model, _), answer) in enumerate(zip(asked, answers, strict=True), start=1):
        found[model].append(answer)
        if not quiet:
            click.echo(f"{number} of {len(asked)} searches of {METHOD} ({model})", err=True)
    return tuple(
        Curves(
            model,
            np.stack([run.reward for run, _ in own]),
            np.stack([run.latency_s for run, _ in own]),
            np.stack([run.accuracy for run, _ in own]),
            own[0][1],
        )
        for model, own in found.items()
    )


def _search(model: str, seed: int) -> tuple[Run, float]:
    """One search, and the accuracy floor of its reward."""
    from benchmarks.catalog import Catalog
    from benchmarks.cells import Cell
    from benchmarks.evaluate import Group, Question, prepare, question_of
    from methods.cpcdrl import Cpcdrl

    where = ("cpcdrl-edge", "cpcdrl-cloud", "200-kbyte-s", None)
    cell = Cell(model, METHOD, *where, seed=seed, convention=CONVENTION)
    prepared = prepare(Group.of(cell), Catalog())
    if prepared.library is None:
        told = prepared.failure[0] if prepared.failure else prepared.skip
        raise CoinferError(f"{METHOD} cannot search on {model}: {told}")
    question, method = question_of(prepared, cell), prepared.method
    assert isinstance(question, Question)
    assert isinstance(method, Cpcdrl)
    run = method.run(prepared.library, question.scenario, question.context)
    return run, float(prepared.library.data["floor"])


def settled_episodes(claim: Claim, facts: Facts) -> list[Used] | Gap:
    """Return from which episode on the median reward on each of a claim's networks is stable."""
    assert claim.search is not None
    found = []
    for model in claim.search.models:
        curves = facts.searches.get(model)
        if curves is None:
            told = f"`coinfer reproduce {claim.search.figure}` searches, and decides it"
            return Gap(f"no searches on {model} are at hand ({told})")
        text = f"{curves.reward.shape[0]} seeds, {curves.reward.shape[1]} episodes"
        value = float(curves.together)
        found.append(Used(None, "", model, value, _EVIDENCE, conditions=text))
    return found


COLUMNS = ("model", "convention", "seed", "episode", "reward", "latency_s", "accuracy", "evidence")

_EVIDENCE = "analytic, predicted"


def csv_text(curves: Sequence[Curves]) -> str:
    """The data behind the figure: a line per network, seed and episode; numbers read exactly."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for own in curves:
        columns = zip(own.reward, own.latency_s, own.accuracy, strict=True)
        for seed, values in enumerate(columns):
            for episode, row in enumerate(zip(*values, strict=True), start=1):
                numbers = (float(value) for value in row)
                writer.writerow([own.model, CONVENTION, seed, episode, *numbers, "predicted"])
    return file.getvalue()


def told(curves: Sequence[Curves], stem: str) -> list[str]:
    """What a reader must know, as lines."""
    seeds, episodes = curves[0].reward.shape
    names = " and ".join(network_text(own.model, CONVENTION) for own in curves)
    digest = hashlib.sha256(csv_text(curves).encode()).hexdigest()[:12]
    text = [
        f"{names}; device and server of the paper, 200 kB/s, convention {CONVENTION}; {seeds} "
        f"seeds, {episodes} episodes. Lines: median of the seeds, averaged over {WINDOW} episodes; "
        f"bands: quartiles. The paper's rewards are stable from about episode {_STABLE} on.",
        *map(_told_of, curves),
        f"Evidence: predicted (accuracy, by a regressor on measured plans), analytic (latency). "
        f"Data: {stem}.csv, SHA-256 {digest}...",
    ]
    return [line for one in text for line in textwrap.wrap(one, _FOOT_COLUMNS)]


def _told_of(curves: Curves) -> str:
    """When a network's rewards have settled, and how many of its plans were admissible."""
    seeds, episodes = curves.reward.shape
    settled = [episode for episode in sorted(curves.settled) if episode <= episodes]
    alone = f"in {len(settled)} of {seeds} single seeds" + (
        f", from episode {settled[0]} to {settled[-1]} on" if settled else ""
    )
    held = int((curves.accuracy >= curves.floor).sum())
    return (
        f"{curves.model}: the median reward stays within {100 * TOLERANCE:g} % of its rise from "
        f"episode {curves.together} on; the reward of a seed does {alone}. Accuracy floor "
        f"{100 * curves.floor:.2f} %: {held:,} of {curves.accuracy.size:,} episodes saw a plan "
        "that keeps to it, of which a search answers with its fastest."
    )


def draw(curves: Sequence[Curves], stem: str) -> Figure:
    """Draw the figure (to be used in `house_style`)."""
    colours = [colour for colour, _ in CURVE_STYLES[: len(curves)]]
    drawn = [
        (own, MethodStyle(own.model, colour, ""))
        for own, colour in zip(curves, colours, strict=True)
    ]
    panels = (
        Lines("Reward", tuple(_line(own.reward, s) for own, s in drawn), log_y=False),
        Lines("Latency (ms, log scale)", tuple(_line(1e3 * own.latency_s, s) for own, s in drawn)),
        Lines(
            "Predicted accuracy (%)",
            (
                *(_line(100.0 * own.accuracy, style) for own, style in drawn),
                *(_floor(own, style) for own, style in drawn),
            ),
            log_y=False,
        ),
    )
    return line_panels(panels, "Episode", "", told(curves, stem), log_x=False)


def _floor(curves: Curves, style: MethodStyle) -> Line:
    """A network's accuracy floor, a level line."""
    level = (100.0 * curves.floor,) * 2
    dashed = MethodStyle(f"floor of {curves.model}", style.colour, "", "", _FLOOR_DASHES)
    ends = (1.0, float(curves.reward.shape[1]))
    return Line(dashed, ends, level, level, level, ("none", "none"))


def _line(values: Floats, style: MethodStyle) -> Line:
    smooth = np.stack([averaged(one) for one in values])
    low, middle, high = np.percentile(smooth, _QUARTILES, axis=0)
    episodes = tuple(float(n) for n in range(1, values.shape[1] + 1))
    unmarked: Fill = "none"
    y, below, above = (tuple(column.tolist()) for column in (middle, low, high))
    return Line(style, episodes, y, below, above, (unmarked,) * len(episodes))


def write(folder: Path, stem: str, title: str, curves: Sequence[Curves]) -> list[Path]:
    """Write the figure (SVG, PDF, PNG) and its data (CSV) into a folder; return the files.

    Args:
        folder: where.
        stem: of the files' names.
        title: of the figure.
        curves: of every network.
    """
    data = folder / f"{stem}.csv"
    data.write_text(csv_text(curves), encoding="utf-8", newline="")
    with house_style():
        return [*save(draw(curves, stem), folder, stem, title), data]
