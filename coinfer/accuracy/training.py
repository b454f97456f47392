"""One training loop and one way to count right answers, for every network and every plan.

Same seed, same bits: random draws come from generators of their own, and the global random state
is as it was afterwards. What a thread count or another processor changes is in the provenance of
a measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from coinfer.accuracy.memory import memory_kept
from coinfer.accuracy.recipe import Phase, Precision
from coinfer.data.batches import batches
from coinfer.data.images import ImageSet
from coinfer.errors import CoinferError
from coinfer.serial import content_hash

# Losses are looked at in blocks of so many steps: a look makes a GPU wait.
_LOOK_EVERY = 20

# From this input size on, and where batches are normalised, channels-last memory is faster on CPUs
# (alexnet-cifar, which has no normalisation, is a tenth slower in it); on GPUs it always is.
_CHANNELS_LAST_FROM = 64

# Images at once when accuracy is measured. On a CPU 500 take less than a tenth off ResNet-50's time
# and 1.5 GB more memory (one core of an AMD EPYC, 32x32).
_EVALUATION_BATCH = {"cpu": 50, "cuda": 500}


@dataclass(frozen=True)
class Setup:
    """Where and how numbers are computed.

    Attributes:
        device: a torch device, `cpu` or `cuda`.
        precision: of training.
        threads: of torch on the CPU.
    """

    device: str = "cpu"
    precision: Precision = "bf16"
    threads: int = 1


@dataclass(frozen=True)
class Spent:
    """What a phase cost: passes, images seen, steps."""

    epochs: int = 0
    images: int = 0
    steps: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.epochs + other.epochs, self.images + other.images, self.steps + other.steps
        )


class StepHook(Protocol):
    """Something that acts around every training step, such as masks."""

    def before_step(self, step: int, steps: int) -> None:
        """Act before the step, counted from 0."""

    def after_step(self, cross_entropy: Tensor) -> None:
        """Act after the optimiser moved the weights, given the loss of the step without penalty."""


class Keeper(Protocol):
    """Keeps the state of a training between epochs, so that a killed one goes on."""

    def load(self) -> dict[str, Any] | None:
        """Return the last state kept; None to start anew."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state, in place of the last one."""


Progress = Callable[[int, int, float], None]
"""Called after every pass with passes done, passes in all and the mean loss of the pass."""


def substream(seed: int, *what: str) -> int:
    """Return the seed of an independent stream of random numbers (design ruling 13)."""
    return int(content_hash([seed, *what])[:15], 16)


@contextmanager
def reproducible(setup: Setup, seed: int) -> Iterator[None]:
    """Compute with fixed threads, kernels and global seed; put all of it back afterwards."""
    threads = torch.get_num_threads()
    benchmark, deterministic = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    devices = [torch.cuda.current_device()] if setup.device.startswith("cuda") else []
    try:
        torch.set_num_threads(setup.threads)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = (
            benchmark,
            deterministic,
        )


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn a lack of memory into one clear line.

    Raises:
        CoinferError: when memory runs out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, RuntimeError) and "memory" not in text.lower():
            raise
        raise CoinferError(
            f"out of memory in {what} ({text[:120]}); a smaller batch size or fewer trainings at "
            "once (--jobs) need less"
        ) from error


def train(
    model: nn.Module,
    images: ImageSet,
    phase: Phase,
    *,
    seed: int,
    size: int,
    setup: Setup,
    label: str,
    hooks: Sequence[StepHook] = (),
    keeper: Keeper | None = None,
    progress: Progress | None = None,
) -> Spent:
    """Train the parameters of a network that require gradients, in place.

    Args:
        model: any network from inputs (B, C, size, size) to scores (B, classes).
        images: training images.
        phase: how.
        seed: of batches, augmentation, dropout and channel noise.
        size: height and width of the network's input in pixels.
        setup: where and how numbers are computed.
        label: what is trained, for messages.
        hooks: act around every step.
        keeper: keeps the state after every pass, and gives it back to a training begun anew.
        progress: told after every pass.

    Raises:
        CoinferError: when the loss is not finite (naming `label` and the step), when memory runs
            out, or when there are fewer images than the phase asks for.
    """
    chosen = images if phase.images is None else images.first(phase.images)
    batch_size = min(phase.batch_size, len(chosen))
    per_epoch = len(chosen) // batch_size
    steps = per_epoch * phase.epochs
    with (
        reproducible(setup, seed),
        one_line(f"the training of {label}"),
        _depthwise_in_float32(model, setup),
    ):
        model.to(setup.device)
        channels_last = is_channels_last(model, size, setup)
        if channels_last:
            model.to(memory_format=torch.channels_last)
        _set_modes(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        if not trained:
            raise CoinferError(f"{label} has nothing to train in stage {phase.stage}")
        optimizer = _optimizer(trained, phase)
        draws = torch.Generator().manual_seed(substream(seed, "batches"))
        first = _restore(keeper, model, optimizer, draws)
        pixels, labels = _resident(chosen, setup)
        step = first * per_epoch
        for epoch in range(first, phase.epochs):
            losses: list[Tensor] = []
            passes = batches(
                pixels,
                labels,
                batch_size,
                draws,
                augmented=phase.augmented,
                size=phase.size or size,
                device=setup.device,
                channels_last=channels_last,
                drop_last=True,
            )
            for inputs, targets in passes:
                for group in optimizer.param_groups:
                    group["lr"] = phase.learning_rate(step, per_epoch)
                for hook in hooks:
                    hook.before_step(step, steps)
                loss, entropy = _step(model, optimizer, trained, inputs, targets, phase, setup)
                losses.append(loss)
                for hook in hooks:
                    hook.after_step(entropy)
                step += 1
                if step % _LOOK_EVERY == 0 or step % per_epoch == 0:
                    _check_finite(losses, step, steps, label, phase)
            if keeper is not None:
                keeper.save(_state(epoch + 1, model, optimizer, draws))
            if progress is not None:
                progress(epoch + 1, phase.epochs, float(torch.stack(losses).mean()))
    return Spent(phase.epochs, steps * batch_size, steps)


def correct(
    model: nn.Module, images: ImageSet, *, size: int, setup: Setup, seed: int = 0
) -> NDArray[np.bool_]:
    """Return which images a network gets right, (N,), in float32 and evaluation mode.

    Args:
        model: any network from inputs (B, C, size, size) to scores (B, classes).
        images: labelled images.
        size: height and width of the network's input in pixels.
        setup: device and threads.
        seed: of a channel's noise; networks without one do not depend on it.

    Raises:
        CoinferError: when memory runs out, or a score is not a number.
    """
    right = []
    training = model.training
    with (
        reproducible(setup, seed),
        one_line("a measurement"),
        memory_kept(setup.device),
        torch.inference_mode(),
    ):
        model.to(setup.device).eval()
        pixels, labels = _resident(images, setup)
        at_once = _EVALUATION_BATCH.get(setup.device.partition(":")[0], 500)
        for inputs, targets in batches(
            *(pixels, labels, at_once),
            size=size,
            device=setup.device,
            channels_last=is_channels_last(model, size, setup),
        ):
            scores = model(inputs)
            if not torch.isfinite(scores).all():
                raise CoinferError("a network gives scores that are not numbers; train it anew")
            right.append((scores.argmax(1) == targets).cpu().numpy())
        model.train(training)
    return np.concatenate(right)


def input_size(shape: tuple[int, ...]) -> int:
    """Return height and width of a network's input of shape (C, S, S).

    Raises:
        CoinferError: when it is no square image.
    """
    if len(shape) != 3 or shape[1] != shape[2]:
        raise CoinferError(f"the input shape is {shape}; accepted: square images (C, S, S)")
    return shape[1]


def _set_modes(module: nn.Module) -> None:
    """Set training mode, but where parameters are frozen, so that their statistics are too."""
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        module.eval()
        return
    module.training = True
    for child in module.children():
        _set_modes(child)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    trained: list[nn.Parameter],
    inputs: Tensor,
    targets: Tensor,
    phase: Phase,
    setup: Setup,
) -> tuple[Tensor, Tensor]:
    """Return the loss of a step, with and without what a quantiser adds to it."""
    optimizer.zero_grad(set_to_none=True)
    # A split network adds what its quantiser asks for to the loss.
    penalised = getattr(model, "penalised", None)
    with _autocast(setup):
        scores, penalty = (model(inputs), None) if penalised is None else penalised(inputs)
    entropy = functional.cross_entropy(
        scores.float(), targets, label_smoothing=phase.label_smoothing
    )
    loss: Tensor = entropy if penalty is None else entropy + penalty.float()
    loss.backward()  # type: ignore[no-untyped-call]
    if phase.clip_norm is not None:
        nn.utils.clip_grad_norm_(trained, phase.clip_norm)
    optimizer.step()
    return loss.detach(), entropy.detach()


def _autocast(setup: Setup) -> AbstractContextManager[Any]:
    if setup.precision == "fp32":
        return nullcontext()
    return torch.autocast(setup.device.partition(":")[0], torch.bfloat16)


def _optimizer(trained: list[nn.Parameter], phase: Phase) -> torch.optim.Optimizer:
    if phase.optimizer == "adam":
        return torch.optim.Adam(trained, phase.lr, weight_decay=phase.weight_decay)
    nesterov = phase.momentum > 0
    return torch.optim.SGD(
        trained, phase.lr, phase.momentum, weight_decay=phase.weight_decay, nesterov=nesterov
    )


def _check_finite(losses: list[Tensor], step: int, steps: int, label: str, phase: Phase) -> None:
    recent = torch.stack(losses[-_LOOK_EVERY:])
    wrong = torch.nonzero(~torch.isfinite(recent))
    if len(wrong):
        at = step - len(recent) + int(wrong[0]) + 1
        raise CoinferError(
            f"the training of {label} diverged: the loss is {float(recent[wrong[0]]):g} at step "
            f"{at} of {steps} ({phase.stage}, learning rate {phase.lr:g}); nothing was kept of it"
        )


def is_channels_last(model: nn.Module, size: int, setup: Setup) -> bool:
    """Return whether a network computes faster on inputs (B, C, size, size) of that format."""
    if setup.device.startswith("cuda") or size >= _CHANNELS_LAST_FROM:
        return True
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@contextmanager
def _depthwise_in_float32(model: nn.Module, setup: Setup) -> Iterator[None]:
    """Compute convolutions of one channel each in float32 while training, on CPUs.

    In bfloat16 they are slower there, backwards above all: MobileNet v1 at 32x32 trains twice as
    fast so (torch 2.15). Nothing of it is left on the modules afterwards.
    """
    found: list[nn.Conv2d] = []
    if setup.device == "cpu" and setup.precision == "bf16":
        found = [module for module in model.modules() if _is_depthwise(module)]
    try:
        for convolution in found:
            convolution.forward = partial(_in_float32, convolution)  # type: ignore[method-assign]
        yield
    finally:
        for convolution in found:
            vars(convolution).pop("forward", None)


def _is_depthwise(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels


def _in_float32(convolution: nn.Conv2d, inputs: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return type(convolution).forward(convolution, inputs.float()).to(inputs.dtype)


def _resident(images: ImageSet, setup: Setup) -> tuple[Any, Any]:
    """Return images and labels where batches are made from: whole in a GPU's memory, else as is."""
    if not setup.device.startswith("cuda"):
        return images.images, images.labels
    pixels = torch.from_numpy(np.array(images.images)).to(setup.device)
    return pixels, torch.from_numpy(np.array(images.labels)).to(setup.device)


def _state(
    epochs: int, model: nn.Module, optimizer: torch.optim.Optimizer, draws: torch.Generator
) -> dict[str, Any]:
    state = {
        "epochs": epochs,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "draws": draws.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore(
    keeper: Keeper | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    draws: torch.Generator,
) -> int:
    """Put a kept state back; return the passes that it has behind it."""
    state = keeper.load() if keeper is not None else None
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    draws.set_state(state["draws"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    return int(state["epochs"])
