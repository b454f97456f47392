"""Images by tolerance: figures look as they did, whatever Matplotlib draws them.

The data of a figure are compared exactly, and its files byte for byte within one installation
(tests of each figure). Another Matplotlib draws the same lines with other bytes: so what a figure
looks like is compared with a small picture that is kept, by the root mean square of the pixels'
differences. Text is left out, and legends, which text pushes about: their shapes are a matter of
fonts. Where a figure is meant to look different, `python -m tests.test_images` draws the pictures
anew; look at them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks.rows import Row
from reproduce import plane, study
from reproduce.draw import user_style
from reproduce.facts import Facts
from reproduce.figures import figure
from tests import test_fig6, test_fig7, test_fig9, test_study

PICTURES = Path(__file__).parent / "images"

# Of 255. Matplotlib 3.10.8 and 3.11.2 differ by 0.03 at most, another font by 0.3; each of the
# nudges below makes 2.4 or more.
TOLERANCE = 1.0
NUDGE = 1.25


def slower(row: Row, factor: float) -> Row:
    """A row whose times are longer by a factor."""
    latency = {part: factor * seconds for part, seconds in row.result.latency.items()}
    return replace(row, result=replace(row.result, latency=latency))


def bars(folder: Path, factor: float) -> None:
    first, *others = test_fig6.ROWS
    figure("fig6").write(Facts.of([slower(first, factor), *others]), folder)


def lines(folder: Path, factor: float) -> None:
    rows = test_fig7.swept("fig7", lambda cell: 0.01 * (1 + cell.seed / 9) * len(cell.method) ** 2)
    nudged = [slower(r, factor if r.cell.method == "all_local" else 1.0) for r in rows]
    figure("fig7").write(Facts.of(nudged), folder)


def points(folder: Path, factor: float) -> None:
    *others, last = test_fig9.ROWS
    rows = [*others, slower(last, factor)]
    plane.write(Facts.of(rows), folder, "fig9", "title", test_fig9.AXES)


def curves(folder: Path, factor: float) -> None:
    found = test_study.made()
    *others, last = found.rows
    nudged = {**last, "val_accuracy": str(factor * float(last["val_accuracy"]))}
    facts = replace(Facts.of([]), study=replace(found, rows=(*others, nudged)))
    study.write(facts, folder)


KINDS: dict[str, Callable[[Path, float], None]] = {
    "bars": bars, "lines": lines, "points": points, "curves": curves,
}  # fmt: skip


def picture(kind: str, folder: Path, factor: float = 1.0) -> Path:
    """Draw a figure into a folder as users do, small and without its text; one value is nudged."""
    style = folder / "small.mplstyle"
    style.write_text("savefig.dpi: 60\n")
    with pytest.MonkeyPatch.context() as patched, user_style(style):
        for left_out in ("text.Text", "legend.Legend"):
            patched.setattr(f"matplotlib.{left_out}.draw", lambda *_, **__: None)
        patched.setattr("reproduce.draw.FORMATS", ("png",))
        KINDS[kind](folder, factor)
    (drawn,) = folder.glob("*.png")
    return drawn


def difference(kind: str, drawn: Path, tolerance: float) -> str | None:
    """How a drawing differs from the picture that is kept, beyond a tolerance; None if not."""
    from matplotlib.testing.compare import compare_images

    kept = drawn.with_name("kept-picture.png")  # beside which the difference is written
    shutil.copy(PICTURES / f"{kind}.png", kept)
    return compare_images(str(kept), str(drawn), tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_looks_as_it_did(kind: str, tmp_path: Path) -> None:
    assert difference(kind, picture(kind, tmp_path), TOLERANCE) is None


@pytest.mark.parametrize("kind", KINDS)
def test_one_other_value_is_seen(kind: str, tmp_path: Path) -> None:
    assert difference(kind, picture(kind, tmp_path, NUDGE), TOLERANCE) is not None


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or KINDS:
        with TemporaryDirectory() as made:
            shutil.copy(picture(name, Path(made)), PICTURES / f"{name}.png")
