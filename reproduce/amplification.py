"""What crosses at every cut of an unpruned network, against its PNG image: three-step, Fig. 1.

Data amplification: a feature is often larger than the image it comes from. Sizes and work are
counted from the traced layer graph, the mean PNG size is measured; nothing here is trained.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coinfer.errors import CoinferError
from coinfer.units import significant
from reproduce.draw import house_style, save
from reproduce.draw_lines import Fill, Line, Lines, line_panels
from reproduce.facts import Facts
from reproduce.networks import Network
from reproduce.style import BLUE, GREY, ORANGE, MethodStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULES = "table1"
WIDTHS_BITS = (32, 8)
"""Bits of an element of a feature: as floats, and quantised (whose loss is not looked at)."""

_STYLES = {
    32: MethodStyle("feature in 32-bit floats", BLUE, "", "o"),
    8: MethodStyle("feature in 8 bits", ORANGE, "", "^", (4.0, 1.6)),
}
_PNG = MethodStyle("image as PNG (mean)", GREY, "", "", (1.0, 1.2))
_KB_BITS = 8e3


@dataclass(frozen=True)
class Crossing:
    """What is computed before a cut and crosses it.

    Attributes:
        after: the cut.
        device_flops: work of the layers before it.
        elements: of the feature.
        png_bits: mean size of the image the feature comes from.
    """

    after: str
    device_flops: int
    elements: int
    png_bits: float

    def bits(self, width_bits: int) -> int:
        """Size of the feature at a width of its elements."""
        return self.elements * width_bits

    def amplifies(self, width_bits: int) -> bool:
        """Whether the feature is larger than the image."""
        return self.bits(width_bits) > self.png_bits


def crossings(network: Network) -> tuple[Crossing, ...]:
    """Return every interior cut of a network, in order.

    Raises:
        CoinferError: when no PNG size was measured for what feeds it.
    """
    png_bits = network.source.png_bits
    if png_bits is None:
        raise CoinferError("no PNG size was measured for the source of this network")
    work = network.graph.device_flops(RULES)
    return tuple(
        Crossing(cut.after, int(before), cut.elements, png_bits)
        for cut, before in zip(network.graph.cuts, work, strict=True)
        if cut.kind == "interior"
    )


COLUMNS = (
    *("model", "cut", "device_flops", "share_of_flops", "elements"),
    *(f"bits_at_{width}" for width in WIDTHS_BITS),
    *("png_bits", *(f"amplifies_at_{width}" for width in WIDTHS_BITS), "evidence"),
)


def csv_text(model: str, network: Network) -> str:
    """The data behind the figure: a line per interior cut; numbers read back exactly."""
    total = int(network.graph.flops(RULES).sum())
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in crossings(network):
        writer.writerow(
            [
                *(model, one.after, one.device_flops, one.device_flops / total, one.elements),
                *(one.bits(width) for width in WIDTHS_BITS),
                one.png_bits,
                *("yes" if one.amplifies(width) else "no" for width in WIDTHS_BITS),
                "analytic (features, work), measured (PNG)",
            ]
        )
    return file.getvalue()


def draw(model: str, network: Network, stem: str) -> Figure:
    """Draw the figure (to be used in `house_style`)."""
    found = crossings(network)
    x = tuple(one.device_flops / 1e6 for one in found)
    lines = []
    plain: Fill = "plain"
    points = (plain,) * len(x)
    for width in WIDTHS_BITS:
        y = tuple(one.bits(width) / _KB_BITS for one in found)
        lines.append(Line(_STYLES[width], x, y, y, y, points))
    png_kb = found[0].png_bits / _KB_BITS
    ends = (x[0], x[-1])
    lines.append(Line(_PNG, ends, (png_kb,) * 2, (png_kb,) * 2, (png_kb,) * 2, ("none",) * 2))
    told = "; ".join(
        f"{sum(one.amplifies(width) for one in found)} of {len(found)} at {width} bits"
        for width in WIDTHS_BITS
    )
    digest = hashlib.sha256(csv_text(model, network).encode()).hexdigest()[:12]
    return line_panels(
        [Lines(f"{model}: what crosses at each of its {len(found)} interior cuts", tuple(lines))],
        "Computation before the cut (MFLOP)",
        "Sent for one image (kB), log scale",
        [
            f"The unpruned network, uncoded features. Cuts that send more than the PNG image "
            f"({significant(png_kb, 3)} kB): {told}.",
            f"Evidence: analytic (work by {RULES}, sizes), measured (mean PNG size of the test "
            f"images). Data: {stem}.csv, SHA-256 {digest}...",
        ],
        log_x=False,
    )


def write(facts: Facts, folder: Path, stem: str, title: str, model: str) -> list[Path]:
    """Write the figure (SVG, PDF, PNG) and its data (CSV) into a folder; return the files."""
    network = facts.networks[model]
    data = folder / f"{stem}.csv"
    data.write_text(csv_text(model, network), encoding="utf-8", newline="")
    with house_style():
        return [*save(draw(model, network, stem), folder, stem, title), data]
