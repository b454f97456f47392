"""`coinfer data`: look at a data set the way the harness does, or download CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.group("data")
def data() -> None:
    """Data sets: what is in one, and where to get CIFAR-10."""


@data.command("info")
@click.option(
    "--data",
    "name",
    metavar="FOLDER",
    help="Folder with a data set, or 'digits' (built in). Default: COINFER_DATA.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
def info(name: str | None, as_json: bool) -> None:
    """Print the layout of a data set, its splits, their hashes and the images of each class.

    The splits depend on the images alone, so two layouts of one data set print the same hashes.

    \b
    coinfer data info --data path/to/cifar10
    coinfer data info --data digits
    """
    import json

    found = describe(name)
    click.echo(json.dumps(found, indent=2) if as_json else table(found))


@data.command("fetch")
@click.option(
    "--data",
    "folder",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where cifar-10-batches-py is to lie (170 MB to download, 350 MB on disk).",
)
def fetch(folder: Path) -> None:
    """Download CIFAR-10 with torchvision, unless the folder has it already.

    \b
    coinfer data fetch --data data
    export COINFER_DATA=data
    """
    from coinfer.data.download import fetch as download

    fresh = download(folder)
    click.echo(f"{'downloaded' if fresh else 'already there'}: CIFAR-10 in '{folder}'")


def describe(name: str | None) -> dict[str, Any]:
    """Return what is to say about a data set, as plain data.

    Args:
        name: `digits` or a folder; None takes the value of `COINFER_DATA`.

    Raises:
        CoinferError: when there is no such data set, or it cannot be read.
    """
    from coinfer.data import SPLITS, load_splits, locate

    source, splits = locate(name), load_splits(name)
    return {
        "data": splits.name,
        "layout": source.layout,
        "folder": source.place,
        "shape": list(splits.shape),
        "hash": splits.hash,
        "splits": {
            split: {
                "images": len(splits.split(split)),
                "hash": splits.split(split).hash,
                "classes": dict(zip(splits.classes, splits.split(split).class_counts, strict=True)),
            }
            for split in SPLITS
        },
    }


def table(found: dict[str, Any]) -> str:
    """Return the description of a data set as text."""
    about = {
        "cifar10": "exactly the images of CIFAR-10",
        "digits": "scikit-learn's digits",
        "other": "not the images of CIFAR-10",
    }
    splits: dict[str, Any] = found["splits"]
    classes = list(splits["train"]["classes"])
    width = max(len("class"), *(len(name) for name in classes))
    where = f" in '{found['folder']}'" if found["folder"] else ""
    rows = [
        f"data    {found['data']}: {about[found['data']]}",
        f"layout  {found['layout']}{where}",
        f"images  {'x'.join(map(str, found['shape']))}, {len(classes)} classes",
        f"hash    {found['hash']}",
        "",
        f"{'split':<6} {'images':>7}  hash",
        *(f"{name:<6} {part['images']:>7,}  {part['hash']}" for name, part in splits.items()),
        "",
        f"{'class':<{width}} " + " ".join(f"{name:>7}" for name in splits),
    ]
    for name in classes:
        counts = " ".join(f"{part['classes'][name]:>7,}" for part in splits.values())
        rows.append(f"{name:<{width}} {counts}")
    return "\n".join(rows)
