"""The figures and tables that can be reproduced, by name. Nothing is imported until one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from coinfer.errors import UnknownNameError

if TYPE_CHECKING:
    from reproduce.claims import Claim, Finding
    from reproduce.facts import Facts


_Writer = Callable[[str, str], Callable[["Facts", Path], list[Path]]]


@dataclass(frozen=True)
class Figure:
    """A figure or table of a paper that we reproduce, or one of ours that a paper's rest on.

    Attributes:
        name: as in `coinfer reproduce NAME`.
        title: one line.
        paper: letter of the paper; '' for a figure of ours, about which no paper claims anything.
        reads: what it is made from: the cells of a matrix, which are computed, a traced network,
            a search of its own, or a measurement table, two networks' tables, a study or a
            comparison of optimisers, which are read.
        write: writes the figure and its data into a folder and returns the files.
        matrix: shipped matrix that holds its cells; '' where it has none.
        stems: stems of the claims that the paper makes about it.
        beside: another matrix whose rows it reads too; '' for none.
        asks: ids of the findings that what it reads alone answers.
    """

    name: str
    title: str
    paper: str
    reads: Literal[
        "matrix", "network", "search", "table", "tables", "recipe study", "code study", "comparison"
    ]
    write: Callable[[Facts, Path], list[Path]]
    matrix: str = ""
    stems: tuple[str, ...] = ()
    beside: str = ""
    asks: tuple[str, ...] = ()

    @property
    def bearer(self) -> tuple[str, str]:
        """The file that says that a folder is ours, and what stands in its first lines."""
        from reproduce.present import MARK

        if self.paper:
            return "scorecard.md", MARK
        return f"{self.name}.json", f'"made_by": "coinfer reproduce {self.name}"'

    def claims(self) -> list[Claim]:
        """What the paper claims about it.

        Of claims that two figures have in common, each with those that its own matrix decides.
        """
        from reproduce.claims import papers

        every = papers()[self.paper].claims if self.paper else ()
        others = {one.matrix for one in _FIGURES if set(one.stems) & set(self.stems)}
        others -= {self.matrix, ""}
        return [c for c in every if c.stem in self.stems and c.matrix not in others]

    def findings(self) -> list[Finding]:
        """The questions that what it reads alone answers."""
        from reproduce.claims import papers

        every = papers()[self.paper].findings if self.paper else ()
        return [finding for finding in every if finding.id in self.asks]


def _write_fig6(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import fig6

    return fig6.write(facts, folder)


def _write_table4(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import table4

    return table4.write(facts, folder)


def _write_caution(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import caution

    return caution.write(facts, folder)


def _write_study(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import study

    return study.write(facts, folder)


def _write_agreement(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import agreement

    return agreement.write(facts, folder)


def _write_amplification(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import amplification

    return amplification.write(facts, folder, "threestep2020-fig1", _T_FIG1, "resnet18")


def _write_learning(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import learning

    return learning.write(folder, "cpcdrl2024-fig3", _C_FIG3, tuple(facts.searches.values()))


def _write_optimisers(facts: Facts, folder: Path) -> list[Path]:
    from reproduce import optimisers

    return optimisers.write(facts, folder)


def _rates(stem: str, title: str) -> Callable[[Facts, Path], list[Path]]:
    """How a figure over rates or SNRs is written."""

    def write(facts: Facts, folder: Path) -> list[Path]:
        from reproduce import rate_figures

        return rate_figures.write(facts, folder, stem, title)

    return write


def _plane(stem: str, title: str) -> Callable[[Facts, Path], list[Path]]:
    """How a figure over the cuts of a network is written."""

    def write(facts: Facts, folder: Path) -> list[Path]:
        from reproduce import plane

        return plane.write(facts, folder, stem, title)

    return write


def _noise(stem: str, title: str) -> Callable[[Facts, Path], list[Path]]:
    """How a figure over the noise of channels is written."""

    def write(facts: Facts, folder: Path) -> list[Path]:
        from reproduce import noise

        return noise.write(facts, folder, stem, title)

    return write


def _harmonised(stem: str, title: str) -> Figure:
    """A figure under one set of rules: ours, about which the paper claims nothing.

    With the winners under both rules, from the rows of the paper's own figure beside it.
    """
    beside = stem.removesuffix("-harmonised")

    def write(facts: Facts, folder: Path) -> list[Path]:
        from reproduce import bare

        return [*bare.write(facts, folder, stem, title), *bare.write_winners(facts, folder, beside)]

    return Figure(stem, title, paper="", reads="matrix", write=write, matrix=stem, beside=beside)


def _bare(stem: str, title: str) -> Figure:
    """Another figure of ours, of a matrix."""

    def write(facts: Facts, folder: Path) -> list[Path]:
        from reproduce import bare

        return bare.write(facts, folder, stem, title)

    return Figure(stem, title, paper="", reads="matrix", write=write, matrix=stem)


def _pair(
    paper: str, name: str, how: _Writer, title: str, *stems: str, harmonised: bool = False
) -> tuple[Figure, ...]:
    """A figure under its paper's rules, and the same under one set of rules."""
    own = Figure(name, title, paper, "matrix", how(name, title), matrix=name, stems=stems)
    return (own, _harmonised(f"{name}-harmonised", f"{title}, harmonised rules"))[: 1 + harmonised]


_FIG7 = "QHO paper, Fig. 7: latency against uplink rate on two devices, AlexNet"
_FIG8 = "QHO paper, Fig. 8: latency against uplink rate on two devices, RegNetX-400MF"
_FIG9 = "QHO paper, Fig. 9: communication against local computation at every cut, AlexNet"
_FIG10 = "QHO paper, Fig. 10: communication against local computation at every cut, RegNetX-400MF"
_FIG11 = "QHO paper, Fig. 11: latency against SNR, AlexNet"

_T_FIG3 = "Three-step paper, Fig. 3: communication against local computation at every cut"
_T_FIG4 = "Three-step paper, Fig. 4: latency against communication rate"
_A_FIG2 = "CIA paper, Fig. 2: communication against local computation at every cut"
_A_FIG3 = "CIA paper, Fig. 3: latency against communication rate on two devices"
_C_FIG3 = "CPCDRL paper, Fig. 3: reward against episode"
_C_FIG4 = "CPCDRL paper, Fig. 4: latency against the accuracy that may be lost, MobileNet"
_C_FIG5 = "CPCDRL paper, Fig. 5: latency against the accuracy that may be lost, VGG16"
_T_FIG5 = "Three-step paper, Fig. 5: communication latency through noise"
_T_FIG1 = "Three-step paper, Fig. 1: what crosses at every cut against the image, ResNet-18"

_FIGURES = (
    Figure(
        name="fig6",
        title="QHO paper, Fig. 6: latency against link on three devices, partitioning alone",
        paper="Q",
        reads="matrix",
        write=_write_fig6,
        matrix="fig6",
        stems=("Q-f6a", "Q-f6b", "Q-f6c"),
        asks=("Q-x1", "Q-x2", "Q-x3"),
    ),
    *_pair("Q", "fig7", _rates, _FIG7, "Q-f7a", "Q-f7b", harmonised=True),
    _bare("fig7-guarded", f"{_FIG7}, with a guard band of 1.5 points on predicted accuracies"),
    _bare("fig7-cautious", f"{_FIG7}, with searches that are cautious where little is known"),
    _bare("fig7-all", f"{_FIG7}, every published method, harmonised rules"),
    *_pair("Q", "fig8", _rates, _FIG8, "Q-f8a", "Q-f8b", harmonised=True),
    *_pair("Q", "fig9", _plane, _FIG9, "Q-f9", harmonised=True),
    *_pair("Q", "fig10", _plane, _FIG10, "Q-f10", harmonised=True),
    *_pair("Q", "fig11", _rates, _FIG11, "Q-f11", harmonised=True),
    _bare("fig11-mixed", f"{_FIG11}, codes through noise and charged as bits"),
    Figure(
        name="table4",
        title="QHO paper, Table IV: six regressors that predict accuracy, on measured plans",
        paper="Q",
        reads="table",
        write=_write_table4,
        stems=("Q-t4",),
        asks=("Q-x5",),
    ),
    Figure(
        name="threestep2020-fig1",
        title=_T_FIG1,
        paper="T",
        reads="network",
        write=_write_amplification,
        stems=("T-f1",),
    ),
    *_pair("T", "threestep2020-fig3", _plane, _T_FIG3, "T-f3", harmonised=True),
    *_pair("T", "threestep2020-fig4", _rates, _T_FIG4, "T-f4", harmonised=True),
    *_pair("T", "threestep2020-fig5", _noise, _T_FIG5, "T-f5a", "T-f5b", harmonised=True),
    *_pair(
        *("A", "cia2021-fig2", _plane, _A_FIG2, "A-f2-comm", "A-f2-comp", "A-f2-pareto"),
        harmonised=True,
    ),
    *_pair("A", "cia2021-fig3", _rates, _A_FIG3, "A-f3", harmonised=True),
    *_pair(
        *("A", "cia2021-fig2-resnet50", _plane, f"{_A_FIG2}, ResNet-50 briefly trained"),
        *("A-f2-comm", "A-f2-comp", "A-f2-pareto"),
        harmonised=True,
    ),
    _bare("cia2021-fig3-resnet50", f"{_A_FIG3}, ResNet-50 briefly trained"),
    Figure(
        name="cpcdrl2024-fig3",
        title=_C_FIG3,
        paper="C",
        reads="search",
        write=_write_learning,
        stems=("C-f3",),
    ),
    *_pair("C", "cpcdrl2024-fig4", _rates, _C_FIG4, "C-f4a", "C-f4b", harmonised=True),
    *_pair("C", "cpcdrl2024-fig5", _rates, _C_FIG5, "C-f5a", "C-f5b", harmonised=True),
    Figure(
        name="study",
        title="Recipe study: accuracy against fine-tuning length, by sparsity",
        paper="",
        reads="recipe study",
        write=_write_study,
    ),
    Figure(
        name="codes",
        title="Code study: accuracy against training length, through the widest codes",
        paper="",
        reads="code study",
        write=_write_study,
    ),
    Figure(
        name="agreement",
        title="Small network beside large: the same plans ranked by their accuracies",
        paper="",
        reads="tables",
        write=_write_agreement,
    ),
    Figure(
        name="caution",
        title="Which predictor would have refused the plans that broke the floor",
        paper="",
        reads="table",
        write=_write_caution,
    ),
    Figure(
        name="optimisers",
        title="QHO beside other searches, at equal numbers of evaluations",
        paper="",
        reads="comparison",
        write=_write_optimisers,
    ),
)


def figures() -> dict[str, Figure]:
    """Return every figure by name."""
    return {figure.name: figure for figure in _FIGURES}


def figure(name: str) -> Figure:
    """Return the figure called `name`.

    Raises:
        UnknownNameError: offering the nearest names.
    """
    try:
        return figures()[name]
    except KeyError:
        raise UnknownNameError("figure", name, figures()) from None
