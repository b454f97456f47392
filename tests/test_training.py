"""The training loop: recipes, resuming bit for bit, clear ends, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from coinfer.accuracy import checkpoints
from coinfer.accuracy.checkpoints import Checkpoint
from coinfer.accuracy.cli import cache as commands
from coinfer.accuracy.cli import check_recipe
from coinfer.accuracy.pretrain import check_classes, he_init, kept, pretrain
from coinfer.accuracy.recipe import PAPER, Phase, Recipe, pretrain_recipe, recipe
from coinfer.accuracy.training import Setup, correct, substream, train
from coinfer.data import load_splits
from coinfer.data.images import ImageSet, Splits
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.models import model_spec

CPU = Setup("cpu", "fp32", 1)
PHASE = Phase("pretrain", 3, 0.05, images=320, batch_size=64, augmented=True, warmup_steps=3)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_splits("digits")


@pytest.fixture(autouse=True)
def cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINFER_CACHE", str(tmp_path / "cache"))


def small_network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(8 * 49, 10),
        )


def run(model: nn.Module, images: ImageSet, phase: Phase = PHASE, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"seed": 1, "size": 32, "setup": CPU, "label": "net"}
    return train(model, images, phase, **{**arguments, **changes})


def weights(model: nn.Module) -> list[np.ndarray[Any, Any]]:
    return [tensor.numpy().copy() for tensor in model.state_dict().values()]


class Memory:
    """Keeps the states of a training, and gives back the one after `give` passes."""

    def __init__(self, give: dict[str, Any] | None = None) -> None:
        self.give = give
        self.states: list[dict[str, Any]] = []

    def load(self) -> dict[str, Any] | None:
        return self.give

    def save(self, state: dict[str, Any]) -> None:
        buffer = BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        self.states.append(torch.load(buffer, weights_only=True))


def test_learning_rates_are_the_closed_form() -> None:
    cosine = Phase("pretrain", 4, 0.1, final_lr=0.01, warmup_steps=5)
    rates = [cosine.learning_rate(step, 10) for step in range(40)]
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[20] == pytest.approx(0.01 + 0.09 * (1 + cos(pi * 15 / 35)) / 2)
    assert rates[5] == pytest.approx(0.1)
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    stepwise = Phase("pretrain", 6, 0.1, decay="step", step_epochs=2, step_factor=0.3)
    assert [stepwise.learning_rate(step, 10) for step in (0, 19, 20, 45)] == pytest.approx(
        [0.1, 0.1, 0.03, 0.009]
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("lr", 0.0), ("lr", float("nan")), ("batch_size", 0), ("clip_norm", -1.0)],
)
def test_a_phase_names_the_wrong_field(field: str, value: float) -> None:
    with pytest.raises(CoinferError, match=rf"Phase\.{field} is .*; allowed is"):
        replace(PHASE, **{field: value})


def test_recipes_are_told_apart_by_content() -> None:
    longer = replace(PAPER, phases=(replace(PAPER.phases[0], epochs=21), *PAPER.phases[1:]))
    assert longer.hash != PAPER.hash
    assert replace(PAPER).hash == PAPER.hash
    assert [phase.stage for phase in PAPER.stage("codec", "joint")] == ["codec", "joint"]
    with pytest.raises(UnknownNameError, match="quick"):
        recipe("quik")
    assert pretrain_recipe(None, "alexnet-cifar", "digits").name == "pretrain-digits"
    assert pretrain_recipe(None, "alexnet-cifar", "cifar10").name == "pretrain-plain"
    with pytest.raises(UnknownNameError):
        pretrain_recipe("none", "alexnet", "cifar10")


def test_training_is_deterministic_and_leaves_the_global_state(digits: Splits) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = small_network(), small_network(), small_network()
    spent = run(one, digits.train)
    run(two, digits.train)
    run(other, digits.train, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert (spent.epochs, spent.steps, spent.images) == (3, 15, 960)
    assert all(np.array_equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_training_learns(digits: Splits) -> None:
    model = small_network()
    before = correct(model, digits.val, size=32, setup=CPU).mean()
    run(model, digits.train, replace(PHASE, images=None, epochs=4))
    assert before < 0.3
    assert correct(model, digits.val, size=32, setup=CPU).mean() > 0.8


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_training_goes_on_bit_for_bit(digits: Splits, optimizer: Any) -> None:
    phase = replace(PHASE, optimizer=optimizer, lr=0.01)
    whole, memory = small_network(), Memory()
    run(whole, digits.train, phase, keeper=memory)
    for passes in (1, 2, 3):
        resumed = small_network(9)  # its own weights must not matter
        run(resumed, digits.train, phase, keeper=Memory(memory.states[passes - 1]))
        assert all(
            np.array_equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True)
        )


class Seen(nn.Conv2d):
    """Notes by its groups in which precision it computes, and whether in channels-last memory."""

    seen: dict[int, set[tuple[torch.dtype, bool]]]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        cast = torch.is_autocast_enabled("cpu")
        output = super().forward(inputs)
        last = output.is_contiguous(memory_format=torch.channels_last)
        precision = torch.get_autocast_dtype("cpu") if cast else inputs.dtype
        self.seen.setdefault(self.groups, set()).add((precision, last))
        return output


def separable_network(normalised: bool, seen: dict[int, set[tuple[torch.dtype, bool]]]) -> Any:
    """Return an image's way through a full, a depthwise and a grouped convolution."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        full, depthwise = Seen(3, 8, 5, stride=4), Seen(8, 8, 3, groups=8)
        for convolution in (full, depthwise, Seen(8, 8, 3, groups=2)):
            convolution.seen = seen
            layers += [convolution, nn.BatchNorm2d(8) if normalised else nn.Identity()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 9, 10))


@pytest.mark.parametrize("normalised", [True, False])
def test_depthwise_convolutions_train_in_float32(digits: Splits, normalised: bool) -> None:
    """On a CPU bfloat16 slows them down; the others go on in it, and nothing is left behind."""
    seen: dict[int, set[tuple[torch.dtype, bool]]] = {}
    model = separable_network(normalised, seen)
    run(model, digits.train, setup=Setup("cpu", "bf16", 1))
    assert {groups: {kind for kind, _ in what} for groups, what in seen.items()} == {
        1: {torch.bfloat16},
        2: {torch.bfloat16},
        8: {torch.float32},
    }
    formats = {last for what in seen.values() for _, last in what}
    assert formats == {normalised}  # channels-last memory where batches are normalised
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_failed_training_leaves_the_modules_as_they_were(digits: Splits) -> None:
    model = separable_network(True, {})
    with pytest.raises(CoinferError, match="diverged"):
        run(model, digits.train, replace(PHASE, lr=1e30), setup=Setup("cpu", "bf16", 1))
    assert not any("forward" in vars(module) for module in model.modules())


def test_training_in_bfloat16_is_deterministic(digits: Splits) -> None:
    results = []
    for _ in range(2):
        model = separable_network(True, {})
        run(model, digits.train, setup=Setup("cpu", "bf16", 1))
        results.append(weights(model))
    assert all(map(np.array_equal, *results))


def test_frozen_halves_stay_as_they_are(digits: Splits) -> None:
    model = small_network()
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    before = [t.clone() for t in (*model[0].state_dict().values(), *model[1].state_dict().values())]
    run(model, digits.train)
    after = [*model[0].state_dict().values(), *model[1].state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_diverging_training_names_plan_and_step(digits: Splits) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = small_network(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            scores: torch.Tensor = self.inner(x)
            return scores * float("nan") if self.calls == 7 else scores

    with pytest.raises(CoinferError, match=r"training of net diverged: .*nan at step 7 of 15"):
        run(Breaks(), digits.train)


def test_out_of_memory_is_one_line(digits: Splits) -> None:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.empty(2**60, dtype=torch.uint8)
            scores: torch.Tensor = self.inner(x)
            return scores

    with pytest.raises(CoinferError, match=r"out of memory in the training of net .*--jobs"):
        run(Hungry(), digits.train)


def test_more_images_than_there_are_and_nothing_to_train(digits: Splits) -> None:
    with pytest.raises(CoinferError, match="images asked for"):
        run(small_network(), digits.train, replace(PHASE, images=10**6))
    with pytest.raises(CoinferError, match="nothing to train"):
        run(small_network().requires_grad_(False), digits.train)


def test_he_init_has_the_variance_of_the_paper() -> None:
    layer = nn.Linear(1000, 500)
    he_init(layer, 3)
    values = layer.weight.detach().double()
    # Of n normal draws of variance v, the sample variance has a standard error of v sqrt(2 / n).
    expected, error = 2 / 1000, 2 / 1000 * (2 / values.numel()) ** 0.5
    assert abs(float(values.var()) - expected) < 5 * error
    assert not layer.bias.any()


def test_substreams_differ_by_name_and_seed() -> None:
    streams = {substream(seed, name) for seed in (0, 1) for name in ("a", "b")}
    assert len(streams) == 4
    assert substream(0, "a") == substream(0, "a")


TINY = Recipe("tiny", 1, (replace(PHASE, epochs=2),), precision="fp32", he_init=True)


def test_pretraining_is_kept_and_found(digits: Splits) -> None:
    spec = model_spec("alexnet-cifar")
    assert kept(spec, TINY, digits, 0) is None
    passes: list[int] = []
    first = pretrain(spec, TINY, digits, 0, progress=lambda done, *_: passes.append(done))
    again = pretrain(spec, TINY, digits, 0, progress=lambda done, *_: passes.append(done))
    assert passes == [1, 2]
    assert first.sha256 == again.sha256 == checkpoints.entries()[0]["sha256"]
    assert again.about["val_accuracy"] == first.about["val_accuracy"]
    assert kept(spec, TINY, digits, 1) is None
    assert not list(checkpoints.folder().glob("*.running"))
    assert checkpoints.clear() == 2
    assert kept(spec, TINY, digits, 0) is None


def test_a_killed_pretraining_goes_on(digits: Splits) -> None:
    spec = model_spec("alexnet-cifar")
    whole = pretrain(spec, TINY, digits, 0)
    checkpoints.clear()

    def killed(done: int, *_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(spec, TINY, digits, 0, progress=killed)
    passes: list[int] = []
    resumed = pretrain(spec, TINY, digits, 0, progress=lambda done, *_: passes.append(done))
    assert passes == [2]
    assert resumed.sha256 == whole.sha256


def test_damaged_weights_count_as_none(digits: Splits) -> None:
    found = checkpoints.keep({"a": 1}, {"w": torch.ones(3)}, {})
    file = checkpoints.folder() / f"{found.sha256}.pt"
    assert checkpoints.kept({"a": 1}) is not None
    file.write_bytes(file.read_bytes()[:-20])
    assert checkpoints.kept({"a": 1}) is None
    with pytest.raises(CoinferError, match="is damaged or holds more than weights"):
        checkpoints.read(file)


def test_a_checkpoint_holds_tensors_only(tmp_path: Any) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("code ran",))

    path = tmp_path / "evil.pt"
    torch.save({"w": Evil()}, path)
    with pytest.raises(CoinferError, match="damaged or holds more than weights"):
        checkpoints.read(path)
    torch.save([torch.ones(1)], path)
    with pytest.raises(CoinferError, match="accepted: a dictionary of named tensors"):
        checkpoints.read(path)
    with pytest.raises(CoinferError, match="cannot read"):
        checkpoints.read(tmp_path / "none.pt")


def test_int8_weights_are_restored(tmp_path: Any) -> None:
    path = tmp_path / "small.pt"
    rows = torch.tensor([[1, -2], [3, 4]], dtype=torch.int8)
    scale = torch.tensor([0.5, 2.0])
    torch.save({"fc.int8": rows, "fc.scale": scale, "b": torch.ones(1).half()}, path)
    state = checkpoints.read(path).state
    assert state["fc"].tolist() == [[0.5, -1.0], [6.0, 8.0]]
    assert state["b"].dtype == torch.float32
    torch.save({"fc.int8": rows}, path)
    with pytest.raises(CoinferError, match=r"fc.int8 needs fc.scale"):
        checkpoints.read(path)


def test_weights_of_another_network_are_refused() -> None:
    model = small_network()
    state = dict(model.state_dict())
    lacking = {name: tensor for name, tensor in state.items() if name != "0.bias"}
    with pytest.raises(CoinferError, match=r"not of net: it lacks 0\.bias"):
        checkpoints.load_into(model, Checkpoint("x", lacking), "net")
    with pytest.raises(CoinferError, match="it has more, which that lacks"):
        checkpoints.load_into(model, Checkpoint("x", state | {"more": torch.ones(1)}), "net")
    other = state | {"0.bias": torch.ones(7)}
    with pytest.raises(CoinferError, match=r"0\.bias has shape \(7,\), needed is \(8,\)"):
        checkpoints.load_into(model, Checkpoint("x", other), "net")


def test_data_that_do_not_fit_the_network(digits: Splits) -> None:
    two = replace(digits, train=replace(digits.train, classes=("a", "b")))
    with pytest.raises(CoinferError, match="has 10 outputs, the data 2 classes"):
        check_classes(model_spec("alexnet-cifar"), two)


def test_a_recipe_that_wants_more_images_than_there_are_is_refused(digits: Splits) -> None:
    check_recipe(recipe("digits"), digits)
    check_recipe(recipe("untrained"), digits)
    with pytest.raises(CoinferError, match=r"quick trains on 6,400 images.*accepted: .*digits"):
        check_recipe(recipe("quick"), digits)


def test_weights_are_kept_unless_their_deletion_is_agreed_to() -> None:
    weights = checkpoints.folder() / "some.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    done = CliRunner().invoke(commands, ["clear"], input="n\n")
    assert (done.exit_code, weights.exists()) == (0, True)
    assert "nothing deleted" in done.output
    assert CliRunner().invoke(commands, ["clear"], input="y\n").exit_code == 0
    assert not weights.exists()
