"""`coinfer source-size`: regenerate the shipped PNG sizes."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("source-size")
@click.option(
    "--data",
    "folder",
    required=True,
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder with test-*.parquet in the Hugging Face layout (column img.bytes).",
)
@click.option("--name", required=True, help="Name of the data set in the record.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
def source_size(folder: Path, name: str, output: Path | None) -> None:
    """Measure the mean PNG size of a test set: what `png` charges for sending the source.

    The shipped record is coinfer/presets/source_sizes.json (CIFAR-10).
    """
    from benchmarks.outputs import tell
    from benchmarks.source_size import measure, render

    tell(render(measure(folder, name)), output)
