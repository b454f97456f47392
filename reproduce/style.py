"""How figures look: one style for all, readable in black and white and by colour-blind readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Of the palette of Okabe and Ito, whose colours stay distinct under every common colour blindness;
# these three differ in lightness too.
BLUE, ORANGE, WHITE = "#0072B2", "#E69F00", "#FFFFFF"
BLACK, VERMILION, GREEN, PURPLE = "#000000", "#D55E00", "#009E73", "#CC79A7"

# Lines of a family, told apart by their markers too.
CURVE_STYLES = ((BLUE, "s"), (VERMILION, "^"), (GREEN, "D"), (PURPLE, "v"), (ORANGE, "P"))

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


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn everywhere.

    Attributes:
        label: its name in legends.
        colour: fill; the lightness differs too, for black and white.
        hatch: pattern over the fill.
    """

    label: str
    colour: str
    hatch: str


METHOD_STYLES = {
    "all_local": MethodStyle("All_Local", BLUE, ""),
    "all_server": MethodStyle("All_Server", ORANGE, "////"),
    "neurosurgeon": MethodStyle("Neurosurgeon", WHITE, "...."),
}
