"""Files that are written whole or not at all, and never over somebody else's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from coinfer.errors import CoinferError

# A mark is near the top of the file that bears it.
_HEAD_BYTES = 4096


@contextmanager
def staged(folder: Path, bearer: str, mark: str, writer: str) -> Iterator[Path]:
    """Yield an empty folder; what is in it at the end of the block moves into `folder`.

    Each file takes its name only when all of them are on disk. Files of these names that are in
    `folder` already are replaced only if one of us wrote them: if the file `bearer` there holds
    `mark`. Everything else in `folder` stays as it is.

    Args:
        folder: made when missing.
        bearer: name of the file that says whose folder it is; must be among those written.
        mark: text in its first lines.
        writer: the command that writes, for messages.

    Raises:
        CoinferError: when a file of another origin is in the way, or writing fails; nothing has
            then been moved.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the files' places, so that moving them is one step each.
        with TemporaryDirectory(prefix=".coinfer-", dir=folder) as temporary:
            yield Path(temporary)
            _move(Path(temporary), folder, bearer, mark, writer)
    except OSError as error:
        _remove_empty(missing)
        raise CoinferError(f"cannot write '{folder}': {error.strerror or error}") from error
    except BaseException:
        _remove_empty(missing)
        raise


def check_places(folder: Path, names: Iterable[str], bearer: str, mark: str, writer: str) -> None:
    """Refuse to write files into a folder where some of these names are somebody else's.

    Args:
        folder: may be missing.
        names: of the files.
        bearer, mark, writer: as in `staged`.

    Raises:
        CoinferError: naming the file that is in the way.
    """
    places = [folder / name for name in names]
    there = [place for place in places if place.exists() or place.is_symlink()]
    for place in there:
        if place.is_symlink() or not place.is_file():
            raise CoinferError(f"'{place}' is in the way and no plain file; give another folder")
    if there and not _bears(folder / bearer, mark):
        raise CoinferError(
            f"'{there[0]}' is there already and {writer} did not write it; give another folder, "
            "or remove it"
        )


def _move(source: Path, folder: Path, bearer: str, mark: str, writer: str) -> None:
    files = sorted(source.iterdir(), key=lambda path: path.name != bearer)  # the bearer first
    check_places(folder, [path.name for path in files], bearer, mark, writer)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for path in files:
        path.replace(folder / path.name)


def _bears(path: Path, mark: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return mark.encode() in file.read(_HEAD_BYTES)


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders made for nothing, innermost first."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def write_texts(folder: Path, stem: str, texts: Mapping[str, str]) -> list[Path]:
    """Write texts to STEM.FORM in a folder, by form (`csv`), as they are; return the files."""
    written = []
    for form, text in texts.items():
        path = folder / f"{stem}.{form}"
        path.write_text(text, encoding="utf-8", newline="")
        written.append(path)
    return written
