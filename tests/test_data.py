"""Data sets: three layouts, one split; the cache; careful unpickling; batches as tensors."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from coinfer.cachefolder import cache_folder
from coinfer.cli import cli, run
from coinfer.data import ImageSet, Splits, load, load_splits
from coinfer.data.batch_files import Batches, read_batch
from coinfer.data.batches import (
    MEAN,
    PADDING,
    STD,
    augment,
    batches,
    flip_and_crop,
    normalise,
    resize,
)
from coinfer.data.cifar10 import CLASSES, TEST_MD5, TRAIN_MD5
from coinfer.data.download import Archive, fetch
from coinfer.data.images import images_hash
from coinfer.data.layouts import Folders, class_order
from coinfer.data.split import Part, RawData, split
from coinfer.data_cli import data as data_group
from coinfer.errors import CoinferError, UnknownNameError

TRAIN_EACH, TEST_EACH = 20, 3


def random_part(seed: int, each: int) -> Part:
    """Random images of ten classes, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(10), each)).astype(np.int64)
    return Part(rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8), labels)


TRAIN, TEST = random_part(0, TRAIN_EACH), random_part(1, TEST_EACH)


def shuffled(part: Part, seed: int) -> Part:
    return part[np.random.default_rng(seed).permutation(len(part.labels))]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def old_pickle(part: Part) -> bytes:
    """A batch as Python 2 and an old NumPy pickled it: byte strings, protocol 2, old names."""
    raw = part.pixels.transpose(0, 3, 1, 2).tobytes()
    count = struct.pack("<i", len(part.labels))
    labels = b"".join(b"K" + bytes([label]) for label in part.labels.tolist())
    return (
        b"\x80\x02}(U\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01J" + count + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tbU\x06labels]("
        + labels
        + b"eu."
    )


def write_batches(folder: Path, train: Part = TRAIN, test: Part = TEST) -> Batches:
    """Write batch files in torchvision's layout; returns the layout that accepts them."""
    place = folder / "cifar-10-batches-py"
    place.mkdir(parents=True)

    def write(name: str, part: Part) -> tuple[str, str]:
        content = old_pickle(part)
        (place / name).write_bytes(content)
        return name, hashlib.md5(content).hexdigest()

    pieces = np.array_split(np.arange(len(train.labels)), 5)
    return Batches(
        train_md5=tuple(write(f"data_batch_{i}", train[p]) for i, p in enumerate(pieces, start=1)),
        test_md5=(write("test_batch", test),),
    )


def write_parquet(folder: Path, train: Part = TRAIN, test: Part = TEST) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pieces = np.array_split(np.arange(len(train.labels)), 3)
    for i, piece in enumerate(pieces):
        write_shard(folder / f"train-{i:05}-of-00003.parquet", train[piece])
    write_shard(folder / "test-00000-of-00001.parquet", test)


def write_shard(path: Path, part: Part) -> None:
    images = [{"bytes": png(pixels), "path": "x.png"} for pixels in part.pixels]
    pq.write_table(pa.table({"img": images, "label": part.labels.tolist()}), path)


def write_folders(
    folder: Path, train: Part = TRAIN, test: Part = TEST, names: tuple[str, ...] = CLASSES
) -> None:
    for name, part in (("train", train), ("test", test)):
        for i, (pixels, label) in enumerate(zip(part.pixels, part.labels, strict=True)):
            place = folder / name / names[label]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}.png").write_bytes(png(pixels))


def digest(pixels: np.ndarray) -> str:
    """The definition: SHA-256 over height x width x 3 bytes, row by row, interleaved."""
    return hashlib.sha256(bytes(pixels.reshape(-1).tolist())).hexdigest()


def listed(images: ImageSet) -> list[tuple[str, int]]:
    """What a split holds, in its order, as (digest, label)."""
    pixels = images.images.transpose(0, 2, 3, 1)
    return [(digest(p), int(label)) for p, label in zip(pixels, images.labels, strict=True)]


def literal_split(part: Part) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Train and val by the words of the rule, one image at a time."""
    records = [(digest(p), int(c)) for p, c in zip(part.pixels, part.labels, strict=True)]
    train, val = [], []
    for label in sorted({c for _, c in records}):
        mine = sorted(record for record in records if record[1] == label)
        tenth = max(1, len(mine) // 10)
        val += mine[:tenth]
        train += mine[tenth:]
    return sorted(train), sorted(val)


def same(one: Splits, two: Splits) -> bool:
    return one.hash == two.hash and all(
        np.array_equal(one.split(name).images, two.split(name).images)
        and np.array_equal(one.split(name).labels, two.split(name).labels)
        and one.split(name).hash == two.split(name).hash
        for name in ("train", "val", "test")
    )


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that nothing else uses."""
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path / "cache"))
    return cache_folder("data")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `coinfer data ...`, whatever entry points are installed."""
    monkeypatch.setitem(cli.commands, "data", data_group)
    return lambda *arguments: run(["data", *map(str, arguments)])


@dataclass(frozen=True)
class CountedFolders(Folders):
    """The layout of PNG trees, which notes how often it decodes."""

    reads: list[Path] = field(default_factory=list, repr=False)

    def read(self, root: Path) -> RawData:
        self.reads.append(root)
        return super().read(root)


# --- one data set, three layouts -----------------------------------------------------------------


def test_three_layouts_give_the_same_splits_and_the_same_batches(tmp_path: Path) -> None:
    layout = write_batches(tmp_path / "b", shuffled(TRAIN, 2), shuffled(TEST, 3))
    write_parquet(tmp_path / "p", shuffled(TRAIN, 4), shuffled(TEST, 5))
    write_parquet(tmp_path / "h" / "plain_text", shuffled(TRAIN, 6), TEST)
    write_folders(tmp_path / "f", shuffled(TRAIN, 7), shuffled(TEST, 8))
    loaded = [
        load_splits(tmp_path / "b", (layout,)),
        load_splits(tmp_path / "b" / "cifar-10-batches-py", (layout,)),
        *(load_splits(tmp_path / name) for name in "phf"),
    ]
    first = loaded[0]
    assert all(same(first, other) and other.classes == CLASSES for other in loaded)
    assert all(splits.name == "other" for splits in loaded)
    train, val = literal_split(TRAIN)
    assert (listed(first.train), listed(first.val)) == (train, val)
    assert listed(first.test) == sorted(listed_part(TEST))
    assert first.shape == (3, 32, 32)
    assert first.val.class_counts == (TRAIN_EACH // 10,) * 10
    runs = []
    for splits in loaded:
        generator = torch.Generator().manual_seed(5)
        found = batches(splits.train.images, splits.train.labels, 64, generator, augmented=True)
        runs.append(list(found))
    for other in runs[1:]:
        for (x, y), (x2, y2) in zip(runs[0], other, strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)


def listed_part(part: Part) -> list[tuple[str, int]]:
    return [(digest(p), int(c)) for p, c in zip(part.pixels, part.labels, strict=True)]


def test_a_single_split_is_the_one_of_all(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    splits = load_splits(tmp_path)
    for name in ("train", "val", "test"):
        assert load(tmp_path, name).hash == splits.split(name).hash
    with pytest.raises(UnknownNameError, match="unknown split 'valid'; did you mean 'val'"):
        load(tmp_path, "valid")


def test_only_the_images_of_cifar10_are_called_cifar10(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "cifar10")
    splits = load_splits(tmp_path / "cifar10")
    assert splits.name == "other"
    hashes = {name: splits.split(name).hash for name in ("train", "val", "test")}
    monkeypatch.setattr("coinfer.data.store.SPLIT_HASHES", hashes)
    assert load_splits(tmp_path / "cifar10").name == "cifar10"


def test_the_variable_names_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folders(tmp_path)
    monkeypatch.setenv("COINFER_DATA", str(tmp_path))
    assert same(load_splits(), load_splits(tmp_path))
    monkeypatch.setenv("COINFER_DATA", "digits")
    assert load_splits().name == "digits"
    assert load_splits(tmp_path).name == "other"


@pytest.mark.parametrize(
    ("names", "folders", "classes"),
    [
        (CLASSES[::-1], CLASSES, CLASSES),
        (
            ("Plane", "car", *CLASSES[2:]),
            ("Plane", "car", *CLASSES[2:]),
            CLASSES,
        ),
        (("10", "9", "2"), ("2", "9", "10"), ("2", "9", "10")),
        (("b", "10", "a"), ("10", "a", "b"), ("10", "a", "b")),
        (("truck", "cat"), ("cat", "truck"), ("cat", "truck")),
    ],
)
def test_class_folders_are_numbered_as_cifar10_does_else_sorted(
    names: tuple[str, ...], folders: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    assert class_order(names) == (folders, classes)


def test_renamed_class_folders_change_nothing(tmp_path: Path) -> None:
    # By name, `car` would stand behind `bird`: it must not.
    write_folders(tmp_path / "one")
    write_folders(tmp_path / "two", names=("plane", "car", *CLASSES[2:]))
    (tmp_path / "two" / "train" / ".hidden").mkdir()
    (tmp_path / "two" / "train" / "car" / "notes.txt").write_text("no image")
    (tmp_path / "two" / "train" / "car" / "._1.png").write_text("no image")
    assert same(load_splits(tmp_path / "one"), load_splits(tmp_path / "two"))


# --- the rule ------------------------------------------------------------------------------------


@st.composite
def parts(draw: st.DrawFn) -> Part:
    """Small images of few values, so that equal ones are common, also across classes."""
    classes = draw(st.integers(1, 3))
    counts = draw(st.lists(st.integers(2, 34), min_size=classes, max_size=classes))
    labels = np.repeat(np.arange(classes), counts).astype(np.int64)
    values = draw(st.sampled_from([2, 256]))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, values, (len(labels), 1, 2, 3), dtype=np.uint8)
    return Part(pixels, rng.permutation(labels))


@given(parts(), st.integers(0, 2**32 - 1))
def test_the_split_is_the_literal_one_whatever_the_order(part: Part, seed: int) -> None:
    classes = tuple(f"c{i}" for i in range(int(part.labels.max()) + 1))
    found = split(RawData(part, part, classes))
    assert (listed(found["train"]), listed(found["val"])) == literal_split(part)
    assert listed(found["test"]) == sorted(listed_part(part))
    again = split(RawData(shuffled(part, seed), shuffled(part, seed + 1), classes))
    assert {n: s.hash for n, s in again.items()} == {n: s.hash for n, s in found.items()}


def test_the_hash_tells_pixels_labels_and_shapes_apart() -> None:
    images, labels = TEST.pixels.transpose(0, 3, 1, 2), TEST.labels
    reference = images_hash(images, labels)
    assert images_hash(np.ascontiguousarray(images), labels) == reference
    other = images.copy()
    other[3, 1, 4, 5] ^= 1
    swapped = labels.copy()
    swapped[0] = (swapped[0] + 1) % 10
    reshaped = np.ascontiguousarray(images).reshape(-1, 3, 16, 64)
    found = [images_hash(other, labels), images_hash(images, swapped)]
    assert len({reference, *found, images_hash(reshaped, labels)}) == 4


def test_searching_never_reaches_the_test_set() -> None:
    splits = load_splits("digits")
    blind = splits.without_test()
    assert (blind.train.hash, blind.val.hash) == (splits.train.hash, splits.val.hash)
    assert (blind.hash, blind.name) == (splits.hash, "digits")
    for reach in (lambda: blind.test, lambda: blind.split("test")):
        with pytest.raises(CoinferError, match="the test set is out of reach"):
            reach()
    assert not any(value is splits.held_out for value in vars(blind).values())
    assert len(splits.test) > 0


def test_the_first_images_are_a_fixed_subset() -> None:
    train = load("digits", "train")
    few = train.first(300)
    assert np.array_equal(few.images, train.images[:300])
    assert few.hash == images_hash(few.images, few.labels) != train.hash
    assert train.first(len(train)).hash == train.hash
    # The order is that of a hash: far from sorted by class.
    assert min(few.class_counts) > 10
    for count in (0, len(train) + 1):
        with pytest.raises(CoinferError, match=f"accepted: 1 to {len(train)}"):
            train.first(count)


# --- the built-in set ----------------------------------------------------------------------------


def test_digits_are_all_there_once_upscaled() -> None:
    from sklearn.datasets import load_digits

    splits = load_splits("digits")
    original = load_digits()
    counts = np.bincount(original.target)
    test = counts * 20 // 100
    val = (counts - test) * 20 // 100
    assert splits.test.class_counts == tuple(test)
    assert splits.val.class_counts == tuple(val)
    assert splits.train.class_counts == tuple(counts - test - val)
    expected = Counter(
        (tuple(round(float(v) * 255 / 16) for v in image.reshape(-1)), int(label))
        for image, label in zip(original.images, original.target, strict=True)
    )
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for name in ("train", "val", "test"):
        images = splits.split(name)
        assert images.shape == (3, 32, 32)
        assert images.images.dtype == np.uint8
        small = images.images[:, 0, ::4, ::4]
        assert np.array_equal(np.kron(small, np.ones((1, 4, 4), np.uint8)), images.images[:, 2])
        found += Counter(
            (tuple(image.reshape(-1).tolist()), int(label))
            for image, label in zip(small, images.labels, strict=True)
        )
    assert found == expected


# --- the cache -----------------------------------------------------------------------------------


def test_decoded_once_then_memory_mapped_and_read_only(tmp_path: Path, own_cache: Path) -> None:
    write_folders(tmp_path / "f")
    layout = CountedFolders()
    for _ in range(3):
        splits = load_splits(tmp_path / "f", (layout,))
        assert isinstance(splits.train.images, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            splits.train.images[0, 0, 0, 0] = 1
        with pytest.raises(ValueError, match="read-only"):
            splits.train.labels[0] = 1
    assert len(layout.reads) == 1
    assert not list(own_cache.glob(".part-*"))


def test_two_layouts_share_what_was_decoded(tmp_path: Path, own_cache: Path) -> None:
    write_folders(tmp_path / "f")
    write_parquet(tmp_path / "p")
    load_splits(tmp_path / "f")
    before = set(own_cache.glob("*.npy"))
    load_splits(tmp_path / "p")
    assert set(own_cache.glob("*.npy")) == before
    assert len(list(own_cache.glob("*.json"))) == 2


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def break_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:8] + b"(" * 120)


@pytest.mark.parametrize("kind", ["images", "labels", "index"])
@pytest.mark.parametrize("damage", [cut_short, empty, flip_a_bit, break_header, Path.unlink])
def test_a_damaged_cache_is_decoded_again(
    tmp_path: Path, own_cache: Path, kind: str, damage: Callable[[Path], None]
) -> None:
    write_folders(tmp_path / "f")
    layout = CountedFolders()
    first = load_splits(tmp_path / "f", (layout,))
    images, labels = np.array(first.val.images), np.array(first.val.labels)
    content = first.val.hash
    del first
    target = {
        "images": own_cache / f"{content}-images.npy",
        "labels": own_cache / f"{content}-labels.npy",
        "index": next(own_cache.glob("*.json")),
    }[kind]
    damage(target)
    again = load(tmp_path / "f", "val", (layout,))
    assert np.array_equal(again.images, images)
    assert np.array_equal(again.labels, labels)
    assert len(layout.reads) == 2
    load_splits(tmp_path / "f", (layout,))
    assert len(layout.reads) == 2


def test_a_write_that_fails_half_way_leaves_nothing(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folders(tmp_path / "f")

    def disk_full(file: Any, array: np.ndarray, **_: Any) -> None:
        file.write(b"half a file")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", disk_full)
        splits = load_splits(tmp_path / "f")
    assert list(own_cache.iterdir()) == []
    assert same(splits, load_splits(tmp_path / "f"))


def test_an_unwritable_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folders(tmp_path / "f")
    reference = load_splits(tmp_path / "f")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path / "file"))
    splits = load_splits(tmp_path / "f")
    assert same(splits, reference)
    with pytest.raises(ValueError, match="read-only"):
        splits.val.images[0] = 0


def test_a_changed_source_is_read_again(tmp_path: Path) -> None:
    write_folders(tmp_path)
    before = load_splits(tmp_path)
    victim = next((tmp_path / "train" / "cat").glob("*.png"))
    victim.write_bytes(png(np.zeros((32, 32, 3), np.uint8)))
    changed = load_splits(tmp_path)
    assert changed.hash != before.hash
    assert changed.test.hash == before.test.hash
    victim.unlink()
    assert sum(len(load(tmp_path, name)) for name in ("train", "val")) == 10 * TRAIN_EACH - 1


def test_the_core_needs_no_torch_and_a_cached_load_no_decoder(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    expected = load(tmp_path, "val").hash
    code = (
        "import sys; from coinfer.data import load; print(load(sys.argv[1], 'val').hash); "
        "heavy = {'torch', 'torchvision', 'PIL', 'pyarrow', 'sklearn', 'pandas'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.getenv("PYTHONPATH"))))
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.splitlines() == [expected, "[]"]


# --- pickles -------------------------------------------------------------------------------------


class Bomb:
    """Unpickling it runs a command."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def refused(path: Path, content: bytes, published: str | None = None) -> str:
    """The line with which a batch file is refused."""
    path.write_bytes(content)
    with pytest.raises(CoinferError) as caught:
        read_batch(path, published or md5(content))
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def test_a_pickle_that_would_run_a_command_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps(
            {"data": Bomb(os.system, f"touch '{trace}'"), "labels": []}, protocol
        )
        # The bomb is live: with the usual unpickler it goes off.
        pickle.loads(content)
        assert trace.exists()
        trace.unlink()
        assert "it names posix.system" in refused(tmp_path / "data_batch_1", content)
        assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, np.fromfile, np.load, pickle.loads])
def test_any_other_name_is_refused_even_numpys(
    tmp_path: Path, function: Callable[..., Any]
) -> None:
    content = pickle.dumps({"data": Bomb(function, "1"), "labels": []})
    assert "it names " in refused(tmp_path / "data_batch_1", content)


def test_an_altered_file_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps(Bomb(os.system, f"touch '{trace}'"))
    line = refused(tmp_path / "data_batch_1", content, TRAIN_MD5[0][1])
    assert f"MD5 {md5(content)}, published {TRAIN_MD5[0][1]}" in line
    assert "coinfer data fetch" in line


def test_old_and_new_pickles_of_arrays_are_read(tmp_path: Path) -> None:
    flat = TEST.pixels.transpose(0, 3, 1, 2).reshape(len(TEST.labels), -1)
    new = pickle.dumps({"data": flat, "labels": TEST.labels.tolist()}, 4)
    for content in (old_pickle(TEST), new):
        path = tmp_path / "batch"
        path.write_bytes(content)
        part = read_batch(path, md5(content))
        assert np.array_equal(part.pixels, TEST.pixels)
        assert np.array_equal(part.labels, TEST.labels)


@pytest.mark.parametrize(
    "batch",
    [
        [],
        {"labels": [0]},
        {"data": np.zeros((1, 3072), np.uint8)},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [0, 1]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [10]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": ["0"]},
        {"data": np.zeros((1, 3072), np.float32), "labels": [0]},
        {"data": np.zeros((1, 3071), np.uint8), "labels": [0]},
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, batch: Any) -> None:
    assert "is no batch of CIFAR-10" in refused(tmp_path / "b", pickle.dumps(batch, 4))


def test_a_damaged_pickle_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"no pickle", old_pickle(TEST)[:-50]):
        assert "is no pickle of NumPy arrays" in refused(tmp_path / "b", content)


def test_a_lacking_batch_is_named(tmp_path: Path) -> None:
    layout = write_batches(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(CoinferError, match=r"cannot read .*data_batch_4.*No such file"):
        load_splits(tmp_path, (layout,))


def test_the_md5s_are_those_that_torchvision_publishes() -> None:
    from torchvision.datasets import CIFAR10

    assert [list(pair) for pair in TRAIN_MD5] == CIFAR10.train_list
    assert [list(pair) for pair in TEST_MD5] == CIFAR10.test_list


# --- bad input -----------------------------------------------------------------------------------


def refuses(folder: Path | str | None, pattern: str) -> None:
    with pytest.raises(CoinferError, match=pattern) as caught:
        load_splits(folder)
    assert "\n" not in str(caught.value)


def test_missing_data_names_the_layouts_and_the_fetch_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COINFER_DATA", raising=False)
    accepted = r"cifar-10-batches-py.*parquet.*train/CLASS/\*\.png.*digits.*coinfer data fetch"
    refuses(None, f"COINFER_DATA.*{accepted}")
    refuses(tmp_path, f"no data set in .*{accepted}")
    refuses(tmp_path / "nowhere", f"no folder .*nowhere.*{accepted}")


def test_bad_parquet_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    shard = tmp_path / "train-00001-of-00003.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    refuses(tmp_path, "train-00001-of-00003.parquet' cannot be read as parquet")
    middle = len(content) // 2
    shard.write_bytes(content[:middle] + bytes(2000) + content[middle + 2000 :])
    refuses(tmp_path, "train-00001-of-00003.parquet'")
    pq.write_table(pa.table({"image": [b"x"], "label": [0]}), shard)
    refuses(tmp_path, r"has columns image, label; accepted: columns img")
    pq.write_table(pa.table({"img": [{"bytes": png(TEST.pixels[0])}], "label": [10]}), shard)
    refuses(tmp_path, r"label 10; accepted: .*0 to 9")
    pq.write_table(pa.table({"img": [{"bytes": None}], "label": [1]}), shard)
    refuses(tmp_path, r"img holds no bytes")
    pq.write_table(pa.table({"img": [{"bytes": b"no image"}], "label": [1]}), shard)
    refuses(tmp_path, r"row 0 of .*train-00001.* is no readable image")
    shard.unlink()
    refuses(tmp_path, "lacks train-00001-of-00003.parquet: 2 of 3 files")
    write_shard(tmp_path / "train-00000-of-00001.parquet", TEST)
    refuses(tmp_path, "mixes train files of 2 data sets")


def test_a_parquet_folder_without_test_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    refuses(tmp_path, r"no test-\*.parquet")


def test_bad_trees_are_refused(tmp_path: Path) -> None:
    write_folders(tmp_path)
    victim = next((tmp_path / "test" / "dog").glob("*.png"))
    content = victim.read_bytes()
    victim.write_bytes(content[:200])
    refuses(tmp_path, f"{victim.name}' is no readable image")
    victim.write_bytes(png(np.zeros((16, 32, 3), np.uint8)))
    refuses(tmp_path, "images differ in size: 32x32 and 16x32")
    victim.write_bytes(content)
    (tmp_path / "test" / "bird").rename(tmp_path / "test" / "birds")
    refuses(tmp_path, "same class folders; in one only: bird, birds")
    for image in (tmp_path / "test").rglob("*.png"):
        image.unlink()
    (tmp_path / "test" / "birds").rename(tmp_path / "test" / "bird")
    refuses(tmp_path, r"no images: there are no \*.png in the class folders of .*test")


def test_every_class_needs_two_training_images_and_both_parts_one_size(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for image in sorted((tmp_path / "train" / "frog").glob("*.png"))[1:]:
        image.unlink()
    refuses(tmp_path, "class 'frog' has 1 training images")
    small = Part(np.ascontiguousarray(TEST.pixels[:, :16]), TEST.labels)
    with pytest.raises(CoinferError, match="training images are 32x32, test images 16x32"):
        split(RawData(TRAIN, small, CLASSES))


# --- tensors -------------------------------------------------------------------------------------


def literal_crop(image: np.ndarray, flip: bool, row: int, column: int, pad: int) -> np.ndarray:
    """Flip, pad by reflection, cut out: one image (C, H, W)."""
    if flip:
        image = image[:, :, ::-1]
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    return padded[:, row : row + image.shape[1], column : column + image.shape[2]]


@given(st.data())
def test_flip_and_crop_is_the_literal_one(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(2, 7)), data.draw(st.integers(2, 7))
    pad = data.draw(st.integers(0, min(height, width) - 1))
    images = data.draw(hnp.arrays(np.uint8, (3, 2, height, width)))
    draws = st.tuples(st.booleans(), st.integers(0, 2 * pad), st.integers(0, 2 * pad))
    told = [data.draw(draws) for _ in images]
    flips, rows, columns = (torch.tensor(values) for values in zip(*told, strict=True))
    found = flip_and_crop(torch.from_numpy(images), flips, rows, columns, pad)
    for image, crop, (flip, row, column) in zip(images, found, told, strict=True):
        assert np.array_equal(crop.numpy(), literal_crop(image, flip, row, column, pad))


def test_augmentation_draws_every_crop_and_flips_half() -> None:
    # Pixels that are all different tell the crop and the flip that made each output.
    count = 4000
    image = np.arange(2 * 9 * 13, dtype=np.uint8).reshape(2, 9, 13)
    outcomes = {
        literal_crop(image, flip, row, column, PADDING).tobytes(): (flip, row, column)
        for flip in (False, True)
        for row in range(2 * PADDING + 1)
        for column in range(2 * PADDING + 1)
    }
    assert len(outcomes) == 162
    stack = torch.from_numpy(np.repeat(image[np.newaxis], count, axis=0))
    found = augment(stack, torch.Generator().manual_seed(0))
    seen = Counter(outcomes[crop.numpy().tobytes()] for crop in found)
    assert len(seen) == 162
    flipped = sum(n for (flip, _, _), n in seen.items() if flip)
    assert abs(flipped - count / 2) < 5 * (count / 4) ** 0.5
    assert torch.equal(found, augment(stack, torch.Generator().manual_seed(0)))
    assert not torch.equal(found, augment(stack, torch.Generator().manual_seed(1)))


def test_normalise_is_the_formula() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 1).reshape(1, 3, 16, 16)
    found = normalise(images)
    assert found.dtype == torch.float32
    for channel in range(3):
        expected = (np.arange(256) / 255 - MEAN[channel]) / STD[channel]
        # Two roundings of 32-bit floats.
        assert np.allclose(found[0, channel].reshape(-1).numpy(), expected, rtol=0, atol=1e-6)


def literal_bilinear(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear scaling with pixel centres at one half, borders repeated: one channel."""
    height, width = image.shape
    result = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            y = min(max((i + 0.5) * height / size - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / size - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            low, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            lower = image[low, left] * (1 - (x - left)) + image[low, right] * (x - left)
            result[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return result


@pytest.mark.parametrize("size", [5, 8, 13])
def test_resize_is_bilinear(size: int) -> None:
    images = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    found = resize(images, size)
    assert found.shape == (2, 3, size, size)
    for image, large in zip(images.reshape(-1, 5, 5), found.reshape(-1, size, size), strict=True):
        assert np.allclose(large, literal_bilinear(image.numpy(), size), rtol=0, atol=1e-6)


def test_without_a_generator_images_come_in_order_and_unchanged() -> None:
    images = load("digits", "val")
    found = list(batches(images.images, images.labels, 100))
    assert [len(y) for _, y in found] == [100, 100, 85]
    assert torch.equal(torch.cat([y for _, y in found]), torch.tensor(images.labels))
    plain = normalise(torch.tensor(images.images))
    assert torch.equal(torch.cat([x for x, _ in found]), plain)
    kept = list(batches(images.images, images.labels, 100, drop_last=True))
    assert [len(y) for _, y in kept] == [100, 100]


def test_a_pass_shows_each_image_once_by_the_seed() -> None:
    images = load("digits", "val")
    marks = np.arange(len(images))

    def order(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return torch.cat([y for _, y in batches(images.images, marks, 64, generator)]).tolist()

    assert sorted(order(0)) == marks.tolist() != order(0)
    assert order(0) == order(0) != order(1)
    generator = torch.Generator().manual_seed(0)
    epochs = [
        torch.cat([y for _, y in batches(images.images, marks, 64, generator)]) for _ in range(2)
    ]
    assert not torch.equal(*epochs)


def test_augmented_batches_are_the_steps_one_after_the_other() -> None:
    images = load("digits", "val")
    generator = torch.Generator().manual_seed(3)
    found = list(
        batches(
            images.images, images.labels, 90, generator, augmented=True, size=40, channels_last=True
        )
    )
    replay = torch.Generator().manual_seed(3)
    order = torch.randperm(len(images), generator=replay)
    for (x, y), index in zip(found, order.split(90), strict=True):
        assert x.is_contiguous(memory_format=torch.channels_last)
        crops = augment(torch.tensor(images.images)[index], replay)
        expected = resize(normalise(crops), 40)
        assert torch.allclose(x, expected, rtol=0, atol=1e-6)
        assert torch.equal(y, torch.tensor(images.labels)[index])


def test_tensors_and_arrays_give_the_same_batches_and_leave_the_global_seed_alone() -> None:
    images = load("digits", "val")
    before = torch.get_rng_state()
    runs = []
    for pixels, labels in (
        (images.images, images.labels),
        (torch.tensor(images.images), torch.tensor(images.labels)),
    ):
        generator = torch.Generator().manual_seed(1)
        runs.append(list(batches(pixels, labels, 50, generator, augmented=True)))
    for (x, y), (x2, y2) in zip(*runs, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_refuse_what_does_not_fit() -> None:
    images = load("digits", "val")
    with pytest.raises(CoinferError, match="285 images and 284 labels"):
        batches(images.images, images.labels[1:], 10)
    with pytest.raises(CoinferError, match="batch size is 0; accepted: 1 or more"):
        batches(images.images, images.labels, 0)
    with pytest.raises(CoinferError, match="give a generator"):
        batches(images.images, images.labels, 10, augmented=True)


# --- the command line ----------------------------------------------------------------------------


def test_info_prints_layout_counts_and_hashes(
    tmp_path: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_folders(tmp_path)
    splits = load_splits(tmp_path)
    assert command("info", "--data", tmp_path) == 0
    text = capsys.readouterr().out
    assert "layout  folders in " in text
    assert "other: not the images of CIFAR-10" in text
    for name in ("train", "val", "test"):
        part = splits.split(name)
        assert f"{len(part):>7,}  {part.hash}" in text
    assert command("info", "--data", tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hash"] == splits.hash
    assert found["layout"] == "folders"
    assert found["splits"]["val"]["classes"] == dict.fromkeys(CLASSES, TRAIN_EACH // 10)
    assert found["splits"]["test"]["images"] == 10 * TEST_EACH


def test_info_ends_in_one_line_for_bad_data(
    tmp_path: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COINFER_DATA", raising=False)
    write_parquet(tmp_path / "p")
    (tmp_path / "p" / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    for arguments in ((), ("--data", tmp_path), ("--data", tmp_path / "p")):
        assert command("info", *arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1


def test_fetch_without_a_network_ends_in_one_line(
    tmp_path: Path,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    assert command("fetch", "--data", tmp_path) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "cannot download" in captured.err
    assert "Network is unreachable" in captured.err


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Batches, Archive]]:
    """Batch files packed as an archive, served on this machine, and the layout they have."""
    folder = tmp_path / "server"
    layout = write_batches(folder)
    path = folder / "batches.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / "cifar-10-batches-py", arcname="cifar-10-batches-py")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{http.server_port}/{path.name}"
        yield layout, Archive(url, "copy.tar.gz", md5(path.read_bytes()))
        http.shutdown()
        thread.join()


def test_fetch_downloads_once_and_checks_what_came(
    tmp_path: Path, server: tuple[Batches, Archive], capsys: pytest.CaptureFixture[str]
) -> None:
    layout, archive = server
    target = tmp_path / "new" / "data"
    assert fetch(target, layout, archive) is True
    assert fetch(target, layout, archive) is False
    train, val = literal_split(TRAIN)
    assert listed(load(target, "train", (layout,))) == train
    # A damaged file is replaced.
    (target / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"damaged")
    assert fetch(target, layout, archive) is True
    assert listed(load(target, "val", (layout,))) == val
    with pytest.raises(CoinferError, match="is not torchvision's file: MD5"):
        fetch(tmp_path / "other", Batches(), archive)
    assert capsys.readouterr().out == ""


def test_fetch_refuses_another_archive(tmp_path: Path, server: tuple[Batches, Archive]) -> None:
    layout, archive = server
    wrong = Archive(archive.url, archive.filename, "0" * 32)
    with pytest.raises(CoinferError, match=r"cannot download .*orrupted"):
        fetch(tmp_path / "new", layout, wrong)
    assert not (tmp_path / "new" / "cifar-10-batches-py").exists()


def test_fetch_says_when_an_archive_holds_something_else(
    tmp_path: Path, server: tuple[Batches, Archive]
) -> None:
    layout, archive = server
    other = Batches(train_md5=(("another_file", layout.train_md5[0][1]),), test_md5=())
    with pytest.raises(CoinferError, match="holds no CIFAR-10 batches"):
        fetch(tmp_path / "new", other, archive)
