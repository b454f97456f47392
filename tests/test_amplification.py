"""Three-step Fig. 1: sizes and work by hand, the claim's share from the same numbers."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from coinfer.errors import CoinferError
from reproduce.amplification import crossings, csv_text
from reproduce.cli import reproduce
from reproduce.networks import Network, amplifying_share, networks


@pytest.fixture(scope="module")
def resnet() -> Network:
    return networks(["resnet18"])["resnet18"]


def test_sizes_and_work_of_a_residual_network_are_those_counted_by_hand(resnet: Network) -> None:
    found = crossings(resnet)
    # Stem, then two blocks of each width; a map has 32x32 elements and half the side per stage.
    maps = [64 * 32 * 32, 128 * 16 * 16, 256 * 8 * 8, 512 * 4 * 4]
    elements = [one.elements for one in found]
    assert elements == sorted(elements, reverse=True)
    assert {*elements} == {*maps, 512}  # the last after global pooling
    assert found[0].device_flops == 2 * 32 * 32 * (3 * 9 + 1) * 64  # the stem's convolution
    work = [one.device_flops for one in found]
    assert work == sorted(work)
    assert work[-1] < resnet.graph.flops("table1").sum()


def test_the_share_of_amplifying_cuts_is_the_claims(resnet: Network) -> None:
    from reproduce.claims import papers

    for claim in papers()["T"].claims:
        if claim.network is not None and claim.network.measure == "amplifying_share":
            width = claim.network.feature_bits
            found = crossings(resnet)
            share = 100 * sum(one.amplifies(width) for one in found) / len(found)
            assert share == amplifying_share(claim.network, resnet)


def test_the_data_read_back_exactly(resnet: Network) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text("resnet18", resnet))))
    for row, one in zip(rows, crossings(resnet), strict=True):
        assert int(row["bits_at_32"]) == 4 * int(row["bits_at_8"]) == 32 * one.elements
        assert float(row["png_bits"]) == resnet.source.png_bits
        assert (row["amplifies_at_8"] == "yes") == (8 * one.elements > one.png_bits)


def test_without_a_png_size_nothing_is_drawn(resnet: Network) -> None:
    blind = replace(resnet, source=replace(resnet.source, png_bits=None))
    with pytest.raises(CoinferError, match="no PNG size was measured"):
        crossings(blind)


def test_the_command_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        arguments = ["threestep2020-fig1", "--out", str(tmp_path / name)]
        done = CliRunner().invoke(
            reproduce, arguments, catch_exceptions=False, standalone_mode=False
        )
        assert done.return_value == 0
        assert "T-f1.1" in done.output
        folder = tmp_path / name
        texts.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert texts[0] == texts[1]
    assert {"threestep2020-fig1.csv", "scorecard.json"} <= texts[0].keys()


@pytest.mark.parametrize("option", ["--table", "--store", "--jobs"])
def test_options_that_mean_nothing_here_are_refused(option: str, tmp_path: Path) -> None:
    arguments = ["threestep2020-fig1", "--out", str(tmp_path / "out"), option, "2"]
    if option == "--table":
        arguments[-1] = "alexnet-cifar-qho-cpu"
    with pytest.raises(CoinferError, match=f"made from a network and takes no {option}"):
        CliRunner().invoke(reproduce, arguments, catch_exceptions=False, standalone_mode=False)
