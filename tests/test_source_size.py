"""The PNG size of a source: what is measured, and what ships."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.source_size import measure, png_sizes_bits, render
from coinfer.cli import run
from coinfer.errors import CoinferError
from coinfer.models import model_spec
from coinfer.tasks import source_of


def image(seed: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def write_parquet(path: Path, images: list[np.ndarray]) -> None:
    records = []
    for pixels in images:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        records.append({"bytes": buffer.getvalue(), "path": "x.png"})
    pq.write_table(pa.table({"img": records, "label": [0] * len(records)}), path)


def test_the_file_is_the_stream_and_57_bytes_of_container() -> None:
    # Signature 8, IHDR 12 + 13, one IDAT 12, IEND 12.
    whole, stream = png_sizes_bits(image(0))
    assert whole - stream == 8 * 57
    assert stream > 0


def test_flat_images_take_less_than_noise() -> None:
    assert png_sizes_bits(np.zeros((32, 32, 3), np.uint8)) < png_sizes_bits(image(0, 32))


def test_measure_averages_over_the_test_set_whatever_its_layout(tmp_path: Path) -> None:
    images = [image(seed) for seed in range(5)]
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    write_parquet(one / "test-00000-of-00001.parquet", images)
    write_parquet(two / "test-00000-of-00002.parquet", images[3:])
    write_parquet(two / "test-00001-of-00002.parquet", images[:3])
    record = measure(one, "tiny")
    sizes = [png_sizes_bits(pixels)[0] for pixels in images]
    assert record["png_bits"]["mean"] == pytest.approx(np.mean(sizes))
    assert record["shape"] == [3, 8, 8]
    assert record["provenance"]["images"] == 5
    assert measure(two, "tiny") == record


def test_images_of_two_shapes_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "test-0.parquet", [image(0), image(0, 4)])
    with pytest.raises(CoinferError, match="images differ in shape"):
        measure(tmp_path, "tiny")


def test_the_command_writes_the_record_that_ships(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "test-0.parquet", [image(1)])
    output = tmp_path / "sizes.json"
    command = ["source-size", "--data", str(tmp_path), "--name", "tiny", "-o", str(output)]
    assert run(command) == 0
    assert output.read_text() == render(measure(tmp_path, "tiny"))
    assert run([*command[:2], str(tmp_path.parent), *command[3:]]) == 2
    assert "no test-*.parquet" in capsys.readouterr().err


def test_the_shipped_size_has_its_provenance_and_lies_below_raw() -> None:
    source = source_of(model_spec("alexnet"))
    assert source.png_bits is not None
    assert 0 < source.png_bits < source.raw_bits
    other = model_spec("torchvision:resnet18[image_size=32]")
    assert other.source_shape == source.shape
    assert source_of(other).png_bits is None, "no one knows what feeds it"
    from importlib.resources import files

    record = json.loads(files("coinfer.presets").joinpath("source_sizes.json").read_text())
    provenance = record["provenance"]
    assert provenance["images"] == 10_000
    assert {"command", "encoder", "data_sha256", "pillow", "zlib", "evidence"} <= set(provenance)
    sizes = record["png_bits"]
    assert sizes["p5"] < sizes["mean"] < sizes["p95"]
    assert sizes["mean"] - sizes["mean_without_container"] == 8 * 57
