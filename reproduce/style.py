"""How figures look: one style for all, readable in black and white and by colour-blind readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Of the palette of Okabe and Ito, whose colours stay distinct under every common colour blindness;
# these three differ in lightness too.
BLUE, ORANGE, WHITE = "#0072B2", "#E69F00", "#FFFFFF"
BLACK, VERMILION, GREEN, PURPLE = "#000000", "#D55E00", "#009E73", "#CC79A7"
SKY = "#56B4E9"
# Beyond that palette, for methods that seldom share a figure.
BROWN, TEAL, GREY, LIGHT_GREY = "#8C6D31", "#1B5E66", "#7A7A7A", "#B8B8B8"
# Of a grid of colours those that, seen with full colour vision and with each of the three
# dichromacies (Machado et al. 2009), are farthest in Lab from the ones above.
INDIGO, SAND, WINE = "#332288", "#DDCC77", "#800026"
VIOLET, ORCHID, OLIVE = "#7900F2", "#C748F2", "#A5A55B"

# Lines of a family, told apart by their markers too.
CURVE_STYLES = (
    *((BLUE, "s"), (VERMILION, "^"), (GREEN, "D"), (PURPLE, "v"), (ORANGE, "P")),
    *((SKY, "X"), (INDIGO, "p")),
)

# Width of a figure over two columns of a journal page, in inches.
TWO_COLUMNS_IN = 7.16

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#D0D0D0",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7,
    "xtick.major.size": 0,
    "ytick.major.width": 0.6,
    "ytick.minor.width": 0.4,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    # Text as outlines and identifiers from a fixed salt: the same bytes on every run.
    "svg.fonttype": "path",
    "svg.hashsalt": "coinfer",
    "pdf.fonttype": 42,
}


# Dash patterns, in line widths: on, off, on, off...
_DOTTED, _DASHED, _DASH_DOT = (1.0, 1.2), (4.0, 1.6), (4.0, 1.4, 1.0, 1.4)
_DASH_DOT_DOT, _LONG, _SHORT = (4.0, 1.2, 1.0, 1.2, 1.0, 1.2), (7.0, 1.8), (2.2, 1.2)


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn everywhere.

    Attributes:
        label: its name in legends.
        colour: fill; the lightness differs too, for black and white.
        hatch: pattern over the fill.
        marker: of its points, as Matplotlib names it; '' for none.
        dashes: of its line; empty for a solid one.
        wide: whether its line is broad and lies below all others, which may cover it.
    """

    label: str
    colour: str
    hatch: str
    marker: str = ""
    dashes: tuple[float, ...] = ()
    wide: bool = False

    @property
    def ink(self) -> str:
        """Colour of its line: that of the fill, unless nobody would see it."""
        return "#505050" if self.colour == WHITE else self.colour


METHOD_STYLES = {
    "all_local": MethodStyle("All_Local", BLUE, "", "s", _LONG),
    "all_server": MethodStyle("All_Server", ORANGE, "////", "^", _DASHED),
    "neurosurgeon": MethodStyle("Neurosurgeon", WHITE, "....", "o", _DOTTED),
    "prune_partition": MethodStyle("Prune_Partition", SKY, "xxxx", "D", _DASH_DOT),
    "two_step_pruning": MethodStyle("2_Step_Pruning", GREEN, "\\\\\\\\", "v", _DASH_DOT_DOT),
    "fpgm": MethodStyle("FPGM", PURPLE, "||||", "P", _SHORT),
    "bottlenet++": MethodStyle("BottleNet++", VERMILION, "----", "<", _DASH_DOT),
    "cia": MethodStyle("CIA", BROWN, "++++", ">", _DASHED),
    "three_step": MethodStyle("Three-step", TEAL, "oooo", "p", _SHORT),
    "cpcdrl": MethodStyle("CPCDRL", GREY, "OOOO", "h", _DASH_DOT_DOT),
    "qho": MethodStyle("QHO", BLACK, "****", "*"),
    "partition_huffman": MethodStyle("Partition, Huffman", INDIGO, "//", "H", _DOTTED),
    "jalad": MethodStyle("JALAD", OLIVE, "\\\\", "8", _LONG),
    "greedy": MethodStyle("Greedy partition", ORCHID, "--", "X", _DASHED),
    "amc": MethodStyle("AMC, device alone", VIOLET, "||", "d", _LONG),
    # Their markers are those of methods of the QHO paper's figures, beside which only fig7-all has
    # them: there colours and dashes tell them apart.
    "ipdr": MethodStyle("IPDR", WINE, "++", "P", _DASH_DOT_DOT),
    "paa": MethodStyle("PAA", SAND, "xx", "D", _LONG),
    "best known": MethodStyle("best known", LIGHT_GREY, "//..", wide=True),
}


_JSCC = MethodStyle("Three-step, JSCC", VERMILION, "oo", "D")

OPTIMISER_STYLES = {
    "qho": MethodStyle("QHO", BLACK, "", "*"),
    "qho-elitist": MethodStyle("QHO, elitist", BLUE, "", "s", _LONG),
    "qho-literal": MethodStyle("QHO as printed", SKY, "", "D", _DASH_DOT),
    "differential-evolution": MethodStyle("differential evolution", VERMILION, "", "^", _DASHED),
    "cma-es": MethodStyle("CMA-ES", GREEN, "", "v", _DASH_DOT_DOT),
    "tpe": MethodStyle("TPE", PURPLE, "", "P", _SHORT),
    "random": MethodStyle("random", GREY, "", "o", _DOTTED),
}
"""How searches of the same plans are drawn beside each other."""


def method_style(ref: str) -> MethodStyle:
    """Return the style of a method; a stranger's is plain grey.

    Options change it only where they make another method of it: another optimiser in QHO's place,
    which is ours, and codes of the three-step framework that are trained through a channel.
    """
    name, _, options = ref.partition("[")
    if name == "three_step" and "coding=jscc" in options:
        return _JSCC
    found = METHOD_STYLES.get(name, MethodStyle(ref, GREY, "", "d", _LONG))
    other = options.partition("optimiser=")[2].partition(",")[0].rstrip("]")
    if not other or other == name:
        return found
    searched = OPTIMISER_STYLES.get(other, found)
    return MethodStyle(f"{found.label} with {searched.label} (ours)", GREY, "", "X", _LONG)
