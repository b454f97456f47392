"""Criteria, the choice of units and schedules: each against a slow, literal reference."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import ceil, floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Lasso as SklearnLasso
from torch import nn
from torch.nn import functional

from coinfer.compression import criteria as criteria_module
from coinfer.compression import nni_masks, scoring
from coinfer.compression import pruning as pruning_module
from coinfer.compression import schedules as schedules_module
from coinfer.compression.criteria import L1, L2, Fpgm, Lasso, Taylor
from coinfer.compression.groups import PruneSpace, prune_space, remove
from coinfer.compression.pruning import choose, choose_globally, device_only, select, sixteenth
from coinfer.compression.reconstruct import Sample, calibrate, patches, refit, second_moments
from coinfer.compression.schedules import Incremental, Iterative, OneShot
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.models import build, model_spec
from coinfer.parts import Parts, is_part
from coinfer.plan import kept_channels
from coinfer.tracing import split
from tests.nets import INPUT, Chain, Grouped, Residual, batches, made

CRITERIA = [L1(), L2(), Fpgm(), Taylor(), Lasso()]
NETWORKS = [Chain, Residual, Grouped]

needs_nni = pytest.mark.skipif(nni_masks.nni_version() is None, reason="nni 3 is not installed")


def filters_of(layer: nn.Module) -> list[list[float]]:
    """The weights that make each output channel, one by one."""
    return [row.flatten().tolist() for row in layer.get_parameter("weight").detach()]


def summed(
    network: nn.Module, space: PruneSpace, score: Callable[[list[list[float]], int], float]
) -> dict[str, list[float]]:
    """Add up the scores of every filter of every unit, literally."""
    scores = {}
    for group in space.groups:
        scores[group.name] = [0.0] * group.units
        for member in group.members:
            layer = network.get_submodule(member)
            if isinstance(layer, nn.BatchNorm2d):
                continue
            rows = filters_of(layer)
            for channel in range(len(rows)):
                unit = channel // (len(rows) // group.units)
                scores[group.name][unit] += score(rows, channel)
    return scores


def l1(rows: list[list[float]], i: int) -> float:
    return sum(abs(w) for w in rows[i])


def l2(rows: list[list[float]], i: int) -> float:
    return sum(w * w for w in rows[i]) ** 0.5


def fpgm(rows: list[list[float]], i: int) -> float:
    return sum(
        sum((a - b) ** 2 for a, b in zip(rows[i], other, strict=True)) ** 0.5 for other in rows
    )


class TestScoresOfWeights:
    @pytest.mark.parametrize("kind", NETWORKS)
    @pytest.mark.parametrize(("criterion", "literal"), [(L1(), l1), (L2(), l2), (Fpgm(), fpgm)])
    def test_literal_loops(
        self, kind: type[nn.Module], criterion: L1, literal: Callable[..., float]
    ) -> None:
        network = made(kind)
        space = prune_space(network, INPUT)
        scores = criterion.scores(network, space)
        expected = summed(network, space, literal)
        assert scores.keys() == expected.keys()
        for name, score in scores.items():
            assert score.dtype == torch.float64
            assert score.tolist() == pytest.approx(expected[name], rel=1e-12)

    def test_the_networks_have_what_makes_scores_hard(self) -> None:
        trunk = prune_space(made(Residual), INPUT).groups[0]
        assert {"stem", "out1", "out2"} <= set(trunk.members)
        whole = prune_space(made(Grouped), INPUT).groups[0]
        assert (whole.units, whole.unit_channels) == (4, 3)
        assert {"a", "grouped"} <= set(whole.members)

    @pytest.mark.parametrize("groups", [1, 2])
    def test_filters_of_a_transposed_convolution(self, groups: int) -> None:
        layer = nn.ConvTranspose2d(4, 6, 3, groups=groups, bias=False)
        rows = scoring.filters(layer)
        assert rows.shape == (6, 4 // groups * 9)
        pulse = torch.rand(1, 4, 1, 1)
        made_of = layer(pulse)[0].flatten(1)  # (6, 9): what each channel makes of one pixel
        reads = pulse.flatten().view(groups, -1)
        for channel, row in enumerate(rows):
            own = row.view(4 // groups, 9)
            expected = reads[channel // (6 // groups)] @ own
            torch.testing.assert_close(made_of[channel], expected)

    def test_distances_of_many_filters(self) -> None:
        rows = torch.randn(60, 30)
        expected = [fpgm(rows.tolist(), i) for i in range(60)]
        assert scoring.distances(rows).tolist() == pytest.approx(expected, rel=1e-12)

    def test_like_filters_are_at_no_distance(self) -> None:
        rows = torch.randn(60, 30)
        rows[7] = rows[3]
        # A matrix product knows a distance of nothing up to the root of its rounding.
        rounding = (2 * 30 * torch.finfo(torch.float64).eps) ** 0.5 * rows[3].norm().item()
        expected = fpgm(rows.tolist(), 3)
        for like in (3, 7):
            assert scoring.distances(rows)[like].item() == pytest.approx(
                expected, abs=rounding, rel=1e-12
            )


class Two(nn.Module):
    """Two layers with something in place between them."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.a, self.act = nn.Conv2d(3, 5, 3), nn.LeakyReLU(0.3, inplace)
        self.drop = nn.Dropout(0.5)
        self.b, self.head = nn.Conv2d(5, 6, 3), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.b(self.drop(self.act(self.a(x))))).mean((2, 3)))


def scaled_loss(network: nn.Module, layer: str, channel: int, scale: float, batch: int) -> float:
    """The loss with one channel of a layer's output scaled."""

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, channel] *= scale
        return output

    handle = network.get_submodule(layer).register_forward_hook(hook)
    images, labels = batches(3)[batch]
    with torch.no_grad():
        loss = functional.cross_entropy(network(images), labels).item()
    handle.remove()
    return loss


class TestTaylor:
    @pytest.mark.parametrize("absolute", ["end", "batch"])
    def test_finite_differences(self, absolute: str) -> None:
        """d loss / d scale = sum a dL/da, of which a score is 1 / (B H W)."""
        network = made(Two)
        space = prune_space(network, INPUT)
        scores = Taylor(absolute).scores(network, space, batches(3))  # type: ignore[arg-type]
        step = 1e-5
        for name, pixels in (("a", 36), ("b", 16)):
            changes = np.array(
                [
                    [
                        scaled_loss(network, name, c, 1 + step, batch)
                        - scaled_loss(network, name, c, 1 - step, batch)
                        for c in range(len(scores[name]))
                    ]
                    for batch in range(3)
                ]
            ) / (2 * step * 4 * pixels)
            expected = np.abs(changes).sum(0) if absolute == "batch" else np.abs(changes.sum(0))
            expected /= np.sqrt((expected**2).sum())
            assert scores[name].tolist() == pytest.approx(expected.tolist(), abs=1e-7)

    def test_the_two_ways_differ_where_signs_cancel(self) -> None:
        network = made(Two)
        space = prune_space(network, INPUT)
        end = Taylor().scores(network, space, batches(3))["b"]
        batch = Taylor("batch").scores(network, space, batches(3))["b"]
        assert not torch.allclose(end, batch)
        one = [Taylor(a).scores(network, space, batches(1))["b"] for a in ("end", "batch")]  # type: ignore[arg-type]
        assert torch.equal(*one)

    def test_layers_of_a_group_are_normalised_before_they_are_added(self) -> None:
        network = made(Residual)
        space = prune_space(network, INPUT)
        scores = Taylor().scores(network, space, batches())
        assert scores["in1"].norm().item() == pytest.approx(1.0)
        with torch.no_grad():  # a layer that counts for nothing, however large its scores
            network.get_submodule("out1").get_parameter("weight").zero_()
            network.get_submodule("out1").get_parameter("bias").zero_()
        assert Taylor().scores(network, space, batches())["stem"].sum() < scores["stem"].sum()

    def test_the_network_stays_as_it_is(self) -> None:
        network = made(Residual).train()
        network.get_submodule("norm1").eval()
        before = copy.deepcopy(network.state_dict())
        modes = [module.training for module in network.modules()]
        with torch.no_grad():
            Taylor().scores(network, prune_space(network, INPUT), batches())
        assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
        assert [module.training for module in network.modules()] == modes
        assert all(p.grad is None for p in network.parameters())
        assert not any(m._forward_hooks for m in network.modules())

    def test_nothing_random_and_nothing_trainable_matters(self) -> None:
        network, frozen = made(Two).train(), made(Two)
        frozen.load_state_dict(network.state_dict())
        frozen.requires_grad_(False)
        space = prune_space(network, INPUT)
        scores = Taylor().scores(network, space, batches())
        for other in (network, frozen):
            again = Taylor().scores(other, space, batches())
            assert all(torch.equal(scores[name], again[name]) for name in scores)

    def test_operations_in_place_change_nothing(self) -> None:
        inplace, plain = made(Two), Two(inplace=False).double()
        plain.load_state_dict(inplace.state_dict())
        space = prune_space(inplace, INPUT)
        both = [Taylor().scores(n, space, batches()) for n in (inplace, plain.eval())]
        torch.testing.assert_close(both[0], both[1])

    def test_tokens(self) -> None:
        class Tokens(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.mix, self.head = nn.Linear(3, 5), nn.Linear(5, 4)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = torch.tanh(self.mix(x.permute(0, 2, 3, 1)))
                return self.head(x.permute(0, 3, 1, 2).mean((2, 3)))

        network = made(Tokens)
        space = prune_space(network, INPUT)
        (scores,) = Taylor().scores(network, space, batches()).values()
        assert scores.shape == (5,)
        assert scores.norm().item() == pytest.approx(1.0)
        as_convolution = nn.Sequential(
            nn.Conv2d(3, 5, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
        ).double()
        as_convolution.load_state_dict(
            {
                key: value.view_as(old)
                for (key, old), value in zip(
                    as_convolution.state_dict().items(), network.state_dict().values(), strict=True
                )
            }
        )
        space = prune_space(as_convolution, INPUT)
        (same,) = Taylor().scores(as_convolution, space, batches()).values()
        torch.testing.assert_close(scores, same)

    def test_nothing_to_prune(self) -> None:
        network = nn.Linear(3, 2)
        space = prune_space(network, (3,))
        data = [(torch.rand(2, 3), torch.zeros(2, dtype=torch.long))]
        for criterion in CRITERIA:
            assert criterion.scores(network, space, data) == {}

    def test_bad_input(self) -> None:
        network = made(Two)
        with pytest.raises(CoinferError, match="taylor criterion has no calibration batch"):
            Taylor().scores(network, prune_space(network, INPUT), [])
        with pytest.raises(CoinferError, match="absolute is 'mean'; allowed: end, batch"):
            Taylor("mean")  # type: ignore[arg-type]


READERS = {
    "3x3": lambda: nn.Conv2d(5, 4, 3, padding=1),
    "strided": lambda: nn.Conv2d(5, 4, (5, 3), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    "same": lambda: nn.Conv2d(5, 4, 4, padding="same"),
    "valid": lambda: nn.Conv2d(5, 4, 2, padding="valid", bias=False),
    "reflect": lambda: nn.Conv2d(5, 4, 3, padding=2, padding_mode="reflect"),
    "1x1": lambda: nn.Conv2d(5, 4, 1),
    "linear": lambda: nn.Linear(7, 4),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", READERS)
class TestPatches:
    def test_the_weights_make_the_output_of_all_patches(self, name: str) -> None:
        torch.manual_seed(0)
        layer, x = READERS[name]().double(), torch.randn(3, 5, 6, 7, dtype=torch.float64)
        rows = patches(layer, x, 1000, torch.Generator())
        output = layer(x)
        channels_last = output if name == "linear" else output.movedim(1, -1)
        expected = channels_last.reshape(-1, 4)
        if layer.bias is not None:
            expected = expected - layer.bias
        torch.testing.assert_close(rows @ layer.weight.flatten(1).T, expected)

    def test_drawn_patches_are_some_of_all(self, name: str) -> None:
        torch.manual_seed(0)
        layer, x = READERS[name](), torch.randn(3, 5, 9, 7)
        every = {tuple(row.tolist()) for row in patches(layer, x, 1000, torch.Generator())}
        drawn = [patches(layer, x, 10, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
        assert drawn[0].shape[0] == 3 * min(10, len(every) // 3)
        assert {tuple(row.tolist()) for row in drawn[0]} < every
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])


class Reading(nn.Module):
    """Six channels, read by one layer, or by two."""

    def __init__(self, reader: str) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.reader = reader
        self.conv = nn.Conv2d(6, 5, 3, padding=1) if reader != "flat" else nn.Identity()
        self.other = nn.Conv2d(6, 5, 1) if reader == "two" else nn.Identity()
        self.flat = nn.Linear(6 * 64, 5) if reader == "flat" else nn.Identity()
        self.head = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(x))
        if self.reader == "flat":
            return self.head(torch.tanh(self.flat(x.flatten(1))))
        y = self.conv(x)
        if self.reader == "two":
            y = y + self.other(x)
        return self.head(torch.tanh(y).mean((2, 3)))

    def readers(self) -> list[str]:
        return {"conv": ["conv"], "flat": ["flat"], "two": ["conv", "other"]}[self.reader]


def reading(reader: str) -> tuple[Reading, PruneSpace]:
    torch.manual_seed(3)
    network = Reading(reader).double().eval()
    return network, prune_space(network, INPUT)


def seen(
    network: Reading, name: str, data: list[tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """All input patches of a layer over all images, by torch's own unfold: (N, M)."""
    layer = network.get_submodule(name)
    with torch.no_grad():
        x = torch.relu(network.a(torch.cat([images for images, _ in data])))
    if isinstance(layer, nn.Linear):
        return x.flatten(1)
    unfolded = functional.unfold(x, layer.kernel_size, padding=layer.padding)  # type: ignore[arg-type]
    return unfolded.transpose(1, 2).flatten(0, 1)


class TestLasso:
    @pytest.mark.parametrize("reader", ["conv", "flat"])
    def test_moments(self, reader: str) -> None:
        network, _ = reading(reader)
        rows = seen(network, reader, batches(3))
        layers = {reader: network.get_submodule(reader)}
        found = second_moments(network, layers, Sample(batches(3), points=64))[reader]
        torch.testing.assert_close(found, rows.T @ rows / len(rows))
        fewer = second_moments(network, layers, Sample(batches(5), most=3, points=64))[reader]
        assert torch.equal(found, fewer)

    def test_moments_of_many_columns_are_those_of_few(self) -> None:
        """Half of a symmetric matrix is computed, block by block, and mirrored."""
        layer = nn.Linear(1100, 3)
        data = [(torch.randn(7, 1100), None) for _ in range(2)]
        found = second_moments(layer, {"": layer}, Sample(data))[""]
        rows = torch.cat([x for x, _ in data]).double()
        assert torch.equal(found, found.T)
        torch.testing.assert_close(found, rows.T @ rows / len(rows))

    @pytest.mark.parametrize("reader", ["conv", "flat", "two"])
    def test_data_are_looked_at_once_for_scores_and_refit(self, reader: str) -> None:
        network, space = reading(reader)
        data, read = batches(3), []

        def counted() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for batch in data:
                read.append(batch)
                yield batch

        once = Lasso(points=64).calibrated(network, space, ["a"], counted())
        scores = once.scores(network, space, ())
        assert list(scores) == ["a"]  # nothing was looked at of other groups
        apart = copy.deepcopy(network)
        torch.testing.assert_close(
            scores["a"], Lasso(points=64).scores(apart, space, data)["a"], rtol=1e-9, atol=1e-12
        )
        Lasso(points=64).refit(apart, space, {"a": [0, 2]}, data)
        once.refit(network, space, {"a": [0, 2]}, ())
        assert len(read) == len(data)
        assert all(map(torch.equal, network.state_dict().values(), apart.state_dict().values()))

    @pytest.mark.parametrize("reader", ["conv", "flat", "two"])
    def test_scores_are_where_a_lasso_solver_drops_units(self, reader: str) -> None:
        """Eq. 1: min 1/2N ||Y - sum_i b_i X_i W_i^T||^2 + penalty |b|_1, by coordinate descent."""
        network, space = reading(reader)
        columns, energies = [], []
        for name in network.readers():
            rows, weight = seen(network, name, batches(3)), network.get_submodule(name).weight
            of = rows.shape[1] // 6
            bring = [
                (rows[:, i * of : (i + 1) * of] @ weight.flatten(1)[:, i * of : (i + 1) * of].T)
                for i in range(6)
            ]
            columns.append(torch.stack([part.flatten() for part in bring], 1).detach().numpy())
            energies.append((columns[-1].sum(1) ** 2).sum())
        x = np.concatenate([c / e**0.5 for c, e in zip(columns, energies, strict=True)])
        y = x.sum(1)
        scores = Lasso(points=64).scores(network, space, batches(3))["a"].numpy()
        order = np.sort(scores)
        for count in range(7):  # between two scores the support is that of the higher ones
            low, high = np.concatenate([[0.5 * order[0]], order, [2 * order[-1]]])[
                count : count + 2
            ]
            penalty = (low * high) ** 0.5
            solver = SklearnLasso(
                alpha=penalty / len(x), fit_intercept=False, tol=1e-12, max_iter=100_000
            )
            support = np.abs(solver.fit(x, y).coef_) > 1e-9
            assert support.tolist() == (scores > penalty).tolist()

    @pytest.mark.parametrize("reader", ["conv", "flat", "two"])
    def test_a_unit_that_brings_nothing_goes_first_then_copies(self, reader: str) -> None:
        network, space = reading(reader)
        with torch.no_grad():
            network.a.weight[2] = network.a.bias[2] = 0.0
            network.a.weight[4], network.a.bias[4] = network.a.weight[1], network.a.bias[1]
            for name in network.readers():
                weight = network.get_submodule(name).weight.view(5, 6, -1)
                weight[:, 4] = weight[:, 1]
        scores = Lasso().scores(network, space, batches(3))["a"]
        first, second = scores.argsort().tolist()[:2]
        assert first == 2
        assert second in (1, 4)

    @pytest.mark.parametrize("reader", ["conv", "flat", "two"])
    def test_refit_is_exact_where_what_goes_depends_on_what_stays(self, reader: str) -> None:
        """Positively dependent channels stay so behind the ReLU."""
        network, space = reading(reader)
        with torch.no_grad():
            for gone, of, scale in ((2, 0, 0.5), (5, 1, 2.0)):
                network.a.weight[gone] = scale * network.a.weight[of]
                network.a.bias[gone] = scale * network.a.bias[of]
        images = batches(1, seed=9)[0][0]
        before = network(images)
        kept = {"a": [0, 1, 3, 4]}
        plain = remove(network, space, kept)(images)
        Lasso(points=64).refit(network, space, kept, batches(8, size=64 if reader == "flat" else 4))
        after = remove(network, space, kept)(images)
        assert (plain - before).abs().max() > 1e-3
        # What the ridge of 1e-8 and weak directions of the sample leave.
        assert (after - before).abs().max() < 1e-5

    @pytest.mark.parametrize("reader", ["conv", "flat", "two"])
    @pytest.mark.parametrize("kept", [[0, 2, 3], [5], [0, 1, 2, 3, 4]])
    def test_refit_is_the_least_squares_fit(self, reader: str, kept: list[int]) -> None:
        network, space = reading(reader)
        data = batches(3)
        original = copy.deepcopy(network)
        Lasso(points=64).refit(network, space, {"a": kept}, data)
        for name in network.readers():
            rows = seen(network, name, data)
            old = original.get_submodule(name).weight.detach().flatten(1)
            new = network.get_submodule(name).weight.detach().flatten(1)
            stays = torch.tensor([c // (rows.shape[1] // 6) in kept for c in range(rows.shape[1])])
            target = rows @ old.T
            left = (target - rows[:, stays] @ new[:, stays].T).norm()
            plain = (target - rows[:, stays] @ old[:, stays].T).norm()
            best = np.linalg.lstsq(rows[:, stays].numpy(), target.numpy(), rcond=None)[0]
            least = np.linalg.norm(target.numpy() - rows[:, stays].numpy() @ best)
            assert left < plain
            assert left <= least + 1e-4 * plain
            assert torch.equal(new[:, ~stays], old[:, ~stays])
        assert torch.equal(network.a.weight, original.a.weight)
        assert torch.equal(network.head.weight, original.head.weight)

    def test_refit_leaves_what_the_sample_does_not_show(self) -> None:
        """Of many possible fits it is the one nearest to the weights there are."""
        network, space = reading("conv")
        old = network.conv.weight.detach().clone()
        dark = [(torch.full((2, *INPUT), 0.1, dtype=torch.float64), torch.zeros(2))]
        refit(network, {"a": [0, 1, 3]}, calibrate(network, space, Sample(dark)))
        stays = torch.tensor([c // 9 in (0, 1, 3) for c in range(6 * 9)])
        change = (network.conv.weight.detach() - old).flatten(1)[:, stays]
        shown = seen(network, "conv", dark)[:, stays]
        outside = change - change @ torch.linalg.pinv(shown) @ shown
        assert change.norm() > 1e-3
        assert outside.norm() < 1e-6 * change.norm()

    def test_one_calibration_serves_many_choices(self) -> None:
        network, space = reading("two")
        calibration = calibrate(network, space, Sample(batches(3)))
        for kept in ([0, 1], [3, 4, 5]):
            once, again = copy.deepcopy(network), copy.deepcopy(network)
            refit(once, {"a": kept}, calibration)
            Lasso().refit(again, space, {"a": kept}, batches(3))
            assert all(map(torch.equal, once.parameters(), again.parameters()))

    def test_seeded(self) -> None:
        network, space = reading("conv")
        one, same, other = (
            Lasso(points=2, seed=seed).scores(network, space, batches())["a"] for seed in (4, 4, 5)
        )
        assert torch.equal(one, same)
        assert not torch.equal(one, other)

    def test_bad_input(self) -> None:
        network, space = reading("conv")
        with pytest.raises(CoinferError, match="lasso criterion has no calibration batch"):
            Lasso().scores(network, space, [])
        with pytest.raises(UnknownNameError, match="prune group"):
            Lasso().refit(network, space, {"b": [0]}, batches())
        for option in ("batches", "points"):
            with pytest.raises(CoinferError, match=f"lasso: {option} is 0"):
                Lasso(**{option: 0})
        with torch.no_grad():
            network.a.weight[0] = torch.nan
        with pytest.raises(CoinferError, match="'conv' reads values that are not finite"):
            Lasso().scores(network, space, batches())

    def test_a_transposed_reader_is_refused(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 5, 3), nn.Conv2d(5, 2, 1))
        space = prune_space(network, INPUT)
        with pytest.raises(CoinferError, match="transposed convolution '1' reads"):
            Lasso().scores(network, space, [(images.float(), y) for images, y in batches()])


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.name)
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_criterion_scores_every_unit(kind: type[nn.Module], criterion: L1) -> None:
    network = made(kind)
    space = prune_space(network, INPUT)
    scores = criterion.scores(network, space, batches())
    assert {name: tuple(score.shape) for name, score in scores.items()} == {
        group.name: (group.units,) for group in space.groups
    }
    assert all(torch.isfinite(score).all() and (score >= 0).all() for score in scores.values())
    again = criterion.scores(network, space, batches())
    assert all(torch.equal(score, again[name]) for name, score in scores.items())


SCORES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12)


class TestChoosing:
    @given(SCORES, st.data())
    def test_the_lowest_go_first_ties_by_index(
        self, scores: list[float], data: st.DataObject
    ) -> None:
        keep = data.draw(st.integers(1, len(scores)))
        stays = list(range(len(scores)))
        while len(stays) > keep:
            stays.remove(min(stays, key=lambda unit: (scores[unit], unit)))
        assert choose({"g": torch.tensor(scores)}, {"g": keep}) == {"g": stays}

    def test_groups_are_chosen_in_by_themselves(self) -> None:
        scores = {"a": torch.tensor([3.0, 1.0, 2.0]), "b": torch.tensor([9.0, 8.0])}
        assert choose(scores, {"b": 1}) == {"b": [0]}
        assert choose(scores, {"a": 2, "b": 2}) == {"a": [0, 2], "b": [0, 1]}

    @given(st.lists(SCORES, min_size=1, max_size=4), st.data())
    def test_globally(self, rows: list[list[float]], data: st.DataObject) -> None:
        most = sum(map(len, rows)) - len(rows)
        remove_count = data.draw(st.integers(0, most))
        stays = [list(range(len(row))) for row in rows]
        best = [max(range(len(row)), key=lambda u: (row[u], u)) for row in rows]
        for _ in range(remove_count):
            _, group, unit = min(
                (rows[g][u], g, u) for g, units in enumerate(stays) for u in units if u != best[g]
            )
            stays[group].remove(unit)
        scores = {f"g{i}": torch.tensor(row) for i, row in enumerate(rows)}
        assert list(choose_globally(scores, remove_count).values()) == stays

    @given(st.integers(0, 10_000))
    def test_a_sixteenth(self, units: int) -> None:
        assert sixteenth(units) == ceil(units / 16)

    @pytest.mark.parametrize("keep", [0, 4, -1, 1.5, True])
    def test_bad_counts(self, keep: int) -> None:
        with pytest.raises(CoinferError, match="units kept of 'g' are .*; allowed is 1 to 3"):
            choose({"g": torch.ones(3)}, {"g": keep})

    def test_bad_input(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown prune group 'h'"):
            choose({"g": torch.ones(3)}, {"h": 1})
        with pytest.raises(CoinferError, match="score of unit 1 of 'g' is not a number"):
            choose({"g": torch.tensor([1.0, torch.nan])}, {"g": 1})
        for count in (3, -1):
            with pytest.raises(CoinferError, match=f"to remove are {count}; allowed is 0 to 2"):
                choose_globally({"g": torch.ones(3)}, count)
        assert choose_globally({}, 0) == {}

    def test_a_criterion_must_score_every_unit(self) -> None:
        class Odd(L1):
            name = "odd"

            def scores(self, model: object, space: object, batches: object = ()) -> dict:  # type: ignore[override, type-arg]
                return {"a": torch.ones(2), "b": torch.ones(8, 1)}

        network = made(Chain)
        space = prune_space(network, INPUT)
        for name, shape in (("a", r"\(2,\)"), ("b", r"\(8, 1\)"), ("c", "None")):
            with pytest.raises(CoinferError, match=f"'odd': scores of '{name}' have shape {shape}"):
                select(Odd(), network, space, {name: 1}, lambda: [])

    def test_what_is_gone_stays_so(self) -> None:
        network = made(Chain)
        space = prune_space(network, INPUT)
        best = choose(L1().scores(network, space), {"b": 1})["b"]
        chosen = select(L1(), network, space, {"b": 3, "a": 2}, lambda: [], {"b": best})
        assert len(chosen["b"]) == 3
        assert not set(best) & set(chosen["b"])
        assert chosen["a"] == choose(L1().scores(network, space), {"a": 2})["a"]

    def test_no_data_is_read_where_nothing_goes(self) -> None:
        network = made(Chain)
        space = prune_space(network, INPUT)

        def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
            raise AssertionError

        assert select(Taylor(), network, space, {"a": 6}, data) == {"a": list(range(6))}


class TestDeviceOnly:
    def test_no_filter_of_the_server_goes(self) -> None:
        """Property: at every cut, the server's filters are those of the unpruned network."""
        for kind in NETWORKS:
            network = made(kind)
            space = prune_space(network, INPUT)
            for cut in space.graph.cuts:
                names = device_only(space, cut.index)
                kept = {name: [0] for name in names}
                halves = split(remove(network, space, kept), cut, INPUT)
                whole = split(network, cut, INPUT)
                for name in set(space.names) - set(names):
                    assert _filters(split(remove(network, space, {name: [0]}), cut, INPUT)[1]) != (
                        _filters(whole[1])
                    )
                assert _filters(halves[1]) == _filters(whole[1])

    def test_residual_trunk(self) -> None:
        space = prune_space(made(Residual), INPUT)
        after = {cut.after: cut.index for cut in space.graph.cuts}
        assert device_only(space, 0) == ()
        assert device_only(space, len(space.graph)) == ("stem", "in1", "in2")
        assert device_only(space, after["stem"]) == ()  # the trunk goes on behind the cut
        first_block = next(i for name, i in after.items() if name.startswith("relu_2"))
        assert device_only(space, first_block) == ("in1",)

    def test_what_crosses_shrinks_and_norms_follow(self) -> None:
        space = prune_space(made(Chain), INPUT)
        cut = space.graph.cut("b")  # its batch norm is the server's
        assert device_only(space, cut.index) == ("a", "b")
        position = [c.index for c in space.graph.cuts].index(cut.index)
        kept = space.keep_vector([("b", 3)])
        assert space.elements(kept)[0, position] == 3 * 16

    @pytest.mark.parametrize("index", [-1, 99, 1.5])
    def test_bad_cut(self, index: int) -> None:
        space = prune_space(made(Chain), INPUT)
        with pytest.raises(CoinferError, match="cut index is"):
            device_only(space, index)


def _filters(half: nn.Module) -> dict[str, int]:
    return {
        name: module.weight.shape[0]
        for name, module in half.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


class TestNni:
    @needs_nni
    @pytest.mark.parametrize("name", ["alexnet-cifar", "vgg16"])
    @pytest.mark.parametrize("criterion", [L1(), L2(), Fpgm()], ids=lambda c: c.name)
    def test_its_masks_are_ours(self, name: str, criterion: L1) -> None:
        torch.manual_seed(0)
        spec = model_spec(name)
        network = build(spec)
        space = prune_space(network, spec.input_shape)
        before = copy.deepcopy(network.state_dict())
        shares = np.random.default_rng(0).uniform(0.05, 0.95, len(space.groups))
        keep = dict(space.keep_pairs(kept_channels(space.full, shares)))
        if criterion.name == "fpgm":  # its loop over pairs takes a minute on the widest layers
            keep = {n: k for n, k in keep.items() if space.groups[space.index(n)].units <= 256}
        theirs = nni_masks.kept_units(criterion.name, network, space, keep)
        linear = {n for n in keep if isinstance(network.get_submodule(n), nn.Linear)}
        assert set(theirs) == set(keep) - (linear if criterion.name == "fpgm" else set())
        ours = choose(criterion.scores(network, space), keep)
        assert theirs == {group: ours[group] for group in theirs}
        assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
        assert [n for n, _ in network.named_modules()] == [
            n for n, _ in build(spec).named_modules()
        ]

    @needs_nni
    @pytest.mark.parametrize(("units", "keep"), [(8, 1), (8, 7), (22, 7), (45, 32), (49, 48)])
    def test_its_counts_are_exact(self, units: int, keep: int) -> None:
        """Also where int(units * ((units - keep) / units)) is one too few."""
        network = nn.Sequential(nn.Conv2d(3, units, 1), nn.ReLU(), nn.Conv2d(units, 2, 1))
        kept = nni_masks.kept_units("l1", network, prune_space(network, INPUT), {"0": keep})
        assert len(kept["0"]) == keep

    @needs_nni
    @pytest.mark.parametrize(("kind", "single"), [(Residual, {"in1", "in2"}), (Grouped, set())])
    def test_it_is_asked_about_single_ordinary_layers_only(
        self, kind: type[nn.Module], single: set[str]
    ) -> None:
        network = made(kind)
        space = prune_space(network, INPUT)
        assert (
            set(nni_masks.kept_units("l2", network, space, dict.fromkeys(space.names, 2))) == single
        )

    @pytest.mark.parametrize("criterion", [L2(), Taylor()], ids=lambda c: c.name)
    def test_select_takes_its_masks_and_scores_the_rest(
        self, criterion: L1, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        network = made(Residual)
        space = prune_space(network, INPUT)
        asked = []

        def answer(name: str, *about: object) -> dict[str, list[int]]:
            asked.append(name)
            return {"in1": [0, 1]}

        monkeypatch.setattr(nni_masks, "kept_units", answer)
        chosen = select(criterion, network, space, {"stem": 2, "in1": 2}, lambda: batches())
        assert asked == [criterion.name]
        assert chosen["in1"] == [0, 1]
        assert (
            chosen["stem"]
            == choose(criterion.scores(network, space, batches()), {"stem": 2})["stem"]
        )

    def test_without_nni_ours_choose(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nni_masks, "nni_version", lambda: None)
        network = made(Chain)
        space = prune_space(network, INPUT)
        assert nni_masks.kept_units("l1", network, space, {"a": 2}) == {}
        expected = choose(L1().scores(network, space), {"a": 2})
        assert select(L1(), network, space, {"a": 2}, lambda: []) == expected


class TestSchedules:
    def test_one_shot(self) -> None:
        assert {OneShot().progress(step, 9) for step in range(9)} == {1.0}

    @given(st.integers(1, 8), st.integers(1, 200))
    def test_iterative(self, rounds: int, steps: int) -> None:
        schedule = Iterative(rounds)
        for step in range(steps):
            assert schedule.progress(step, steps) == (floor(step * rounds / steps) + 1) / rounds

    def test_incremental_is_the_cubic_ramp(self) -> None:
        shares = [Incremental().progress(step, 10_000) for step in range(0, 10_000, 50)]
        expected = [1 - (1 - min(step // 150 + 1, 20) / 20) ** 3 for step in range(0, 10_000, 50)]
        assert shares == expected
        assert shares[-1] == 1.0
        assert shares.index(1.0) == 19 * 3

    @given(st.integers(1, 30), st.integers(1, 200), st.integers(1, 400))
    def test_a_ramp_fits_any_training(self, iterations: int, each: int, steps: int) -> None:
        schedule = Incremental(iterations, each)
        shares = [schedule.progress(step, steps) for step in range(steps)]
        assert shares == sorted(shares)
        assert 0.0 < shares[0] <= shares[-1] <= 1.0
        if steps >= 2:
            assert shares[steps // 2] == 1.0
        assert {1 - (1 - i / iterations) ** 3 for i in range(1, iterations + 1)} >= set(shares)

    def test_only_incremental_lifts(self) -> None:
        assert [s.lifts for s in (OneShot(), Iterative(), Incremental())] == [False, False, True]

    def test_bad_options(self) -> None:
        for make, match in (
            (lambda: Iterative(0), "iterative: rounds is 0"),
            (lambda: Iterative(2.5), "iterative: rounds is 2.5"),  # type: ignore[arg-type]
            (lambda: Incremental(iterations=0), "incremental: iterations is 0"),
            (lambda: Incremental(steps=-3), "incremental: steps is -3"),
        ):
            with pytest.raises(CoinferError, match=match):
                make()


class TestParts:
    CLASSES = tuple(
        cls
        for module in (criteria_module, schedules_module)
        for cls in vars(module).values()
        if isinstance(cls, type) and is_part(cls)
    )

    def test_names(self) -> None:
        assert {(cls.kind, cls.name) for cls in self.CLASSES} == {
            *(("criterion", name) for name in ("l1", "l2", "fpgm", "taylor", "lasso")),
            *(("schedule", name) for name in ("one-shot", "iterative", "incremental")),
        }

    @pytest.mark.parametrize(
        ("kind", "ref", "part"),
        [
            ("criterion", "l1", L1()),
            ("criterion", "taylor[absolute=batch]", Taylor("batch")),
            ("criterion", "lasso[batches=3,points=5,seed=2]", Lasso(3, 5, 2)),
            ("schedule", "iterative[rounds=3]", Iterative(3)),
            ("schedule", "incremental[iterations=20,steps=150]", Incremental()),
            ("schedule", "one-shot", OneShot()),
        ],
    )
    def test_refs(self, kind: str, ref: str, part: object) -> None:
        assert Parts({}).with_classes(self.CLASSES).make(kind, ref) == part

    def test_they_need_no_torch(self) -> None:
        modules = ", ".join(m.__name__ for m in (criteria_module, schedules_module, pruning_module))
        code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
