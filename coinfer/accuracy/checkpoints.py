"""Weights on disk: content-addressed in the cache folder, written atomically, read with care.

A file lies under the SHA-256 of its bytes; an index entry says what the weights of a model,
trained by a recipe on some data from a seed, are. Weights are only ever read as plain tensors.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coinfer.cachefolder import cache_folder, write_atomically
from coinfer.errors import CoinferError
from coinfer.serial import canonical_json, content_hash

State = Mapping[str, Tensor]

_INT8, _SCALE = ".int8", ".scale"


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and the SHA-256 of the file that they came from.

    Attributes:
        sha256: of the file's bytes.
        state: the weights by qualified name, float32.
        about: what is known of them (model, recipe, data, seed, accuracy); empty for a foreign
            file.
    """

    sha256: str
    state: State = field(repr=False, compare=False)
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)


def folder() -> Path:
    """Return the folder of kept weights."""
    return cache_folder("checkpoints")


def keep(key: object, state: State, about: Mapping[str, Any]) -> Checkpoint:
    """Keep weights under a key, plain data of all that determines them.

    Raises:
        CoinferError: when the folder cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    record = {"sha256": sha256, "key": key, "about": dict(about)}
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_atomically(place / f"{sha256}.pt", content)
        # Last: an index entry that is there names a file that is there.
        write_atomically(_index(key), (canonical_json(record) + "\n").encode())
    except OSError as error:
        raise CoinferError(f"cannot keep weights in '{place}': {error.strerror}") from error
    return Checkpoint(sha256, plain, dict(about))


def kept(key: object) -> Checkpoint | None:
    """Return the weights under a key; None where there are none, or where they are damaged."""
    try:
        record = json.loads(_index(key).read_text(encoding="utf-8"))
        found = read(folder() / f"{record['sha256']}.pt")
    except (OSError, ValueError, KeyError, TypeError, CoinferError):
        return None
    if found.sha256 != record["sha256"]:
        return None
    return Checkpoint(found.sha256, found.state, record["about"])


def read(path: Path) -> Checkpoint:
    """Return the weights in a file.

    Tensors of a lower precision become float32; a weight stored as `NAME.int8` with a scale per
    row, `NAME.scale`, is their product.

    Raises:
        CoinferError: when the file is missing, damaged, or holds anything but named tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CoinferError(f"cannot read '{path}': {error.strerror}") from error
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise nearly anything
        reason = " ".join(str(error).split())[:120]
        raise CoinferError(f"'{path}' is damaged or holds more than weights ({reason})") from error
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        raise CoinferError(f"'{path}' is no checkpoint; accepted: a dictionary of named tensors")
    return Checkpoint(hashlib.sha256(content).hexdigest(), dict(_full_precision(loaded, path)))


def known(sha256: str) -> dict[str, Any]:
    """Return what the index says of weights of that content; empty where it does not know them."""
    found: Mapping[str, Any] = next((e["about"] for e in entries() if e["sha256"] == sha256), {})
    return dict(found)


def load_into(model: nn.Module, checkpoint: Checkpoint, label: str) -> None:
    """Put weights into a network, in place.

    Raises:
        CoinferError: naming the first weight that is missing, left over or of another shape.
    """
    own = model.state_dict()
    for name in [*own, *checkpoint.state]:
        if name not in checkpoint.state:
            raise CoinferError(f"the checkpoint is not of {label}: it lacks {name}")
        if name not in own:
            raise CoinferError(f"the checkpoint is not of {label}: it has {name}, which that lacks")
        theirs, ours = tuple(checkpoint.state[name].shape), tuple(own[name].shape)
        if theirs != ours:
            raise CoinferError(
                f"the checkpoint is not of {label}: {name} has shape {theirs}, needed is {ours}"
            )
    model.load_state_dict(dict(checkpoint.state))


@dataclass(frozen=True)
class FileKeeper:
    """Keeps the state of a running training in a file of the cache folder.

    Attributes:
        path: the file.
        tag: hash of all that determines the training; a state of another one is not given back.
    """

    path: Path
    tag: str

    @classmethod
    def of(cls, key: object) -> FileKeeper:
        """Return the keeper of the training that a key determines."""
        tag = content_hash(key)
        return cls(folder() / f"{tag}.running", tag)

    def load(self) -> dict[str, Any] | None:
        """Return the last state kept; None where there is none, or where it is damaged."""
        try:
            loaded = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # whatever a damaged file raises, the answer is to start anew
            return None
        if not isinstance(loaded, dict) or loaded.get("tag") != self.tag:
            return None
        return loaded

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state, in place of the last one; a folder that cannot be written is no error."""
        buffer = io.BytesIO()
        torch.save({**state, "tag": self.tag}, buffer)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, buffer.getvalue())
        except OSError:
            return

    def drop(self) -> None:
        """Forget the state: the training is over."""
        self.path.unlink(missing_ok=True)


def entries() -> list[dict[str, Any]]:
    """Return what is kept: a record per index entry, with its bytes, ordered by content."""
    found = []
    for path in sorted(folder().glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            size = (folder() / f"{record['sha256']}.pt").stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append({**record, "bytes": size})
    return found


def clear() -> int:
    """Delete all kept weights and running states; return how many files went."""
    files = [path for kind in ("*.json", "*.pt", "*.running") for path in folder().glob(kind)]
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)


def _index(key: object) -> Path:
    return folder() / f"{content_hash(key)}.json"


def _full_precision(loaded: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in loaded.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) + _INT8 in loaded:
            continue
        if not name.endswith(_INT8):
            yield name, tensor.float() if tensor.is_floating_point() else tensor
            continue
        whole = name.removesuffix(_INT8)
        scale = loaded.get(whole + _SCALE)
        if scale is None or tensor.ndim < 1 or scale.shape != tensor.shape[:1]:
            raise CoinferError(f"'{path}': {name} needs {whole}{_SCALE}, one number per row")
        yield whole, tensor.float() * scale.float().reshape(-1, *[1] * (tensor.ndim - 1))
