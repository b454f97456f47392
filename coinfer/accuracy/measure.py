"""From a plan to its measured accuracy: prune, fine-tune, split, encode, train end to end, test.

The multistep scheme of Mu et al. 2024, section III-B. Whatever is measured was really built: the
pruned network is physically smaller, its halves run through the codec, the coder's quantisation
and the channel, and the work of the real modules must equal the analytic count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coinfer.accuracy.checkpoints import Checkpoint, load_into
from coinfer.accuracy.measurement import Measurement, Payload, pack
from coinfer.accuracy.memory import memory_kept
from coinfer.accuracy.pretrain import check_classes
from coinfer.accuracy.recipe import Phase, Recipe
from coinfer.accuracy.training import (
    Progress,
    Setup,
    Spent,
    StepHook,
    correct,
    input_size,
    is_channels_last,
    reproducible,
    substream,
    train,
)
from coinfer.compression.criteria import Calibrates, Refits
from coinfer.compression.entropy import FittedCoder
from coinfer.compression.groups import prune_space, remove
from coinfer.compression.masking import Masking
from coinfer.compression.pipeline import SplitNetwork, split_network
from coinfer.compression.pruning import select
from coinfer.compression.schedules import OneShot
from coinfer.compression.space import PruneSpace
from coinfer.compression.starts import principal_start
from coinfer.data.batches import batches
from coinfer.data.images import ImageSet, Splits
from coinfer.errors import CoinferError
from coinfer.models import build, model_spec
from coinfer.parts import NO_PART, Criterion, Parts, Schedule, installed_parts, sends_source
from coinfer.plan import Plan
from coinfer.tracing import trace

RULES = "table1"
"""Counting rule of a measurement's FLOPs."""

_BATCH = 128

# What criteria that need data see: the first images of the training split, without augmentation.
# At most so many, and half as many as are trained on from one choice to the next, which is what the
# 2-step paper's authors do (a pass to rank filters, then two of fine-tuning).
_CRITERION_IMAGES = 7_680
_CRITERION_SHARE = 0.5

# Training images that a quantiser's range and a code table are made from.
_CODER_IMAGES = 5_000


@dataclass(frozen=True)
class Job:
    """One plan to build, and all that determines the result.

    Attributes:
        plan: what to build.
        parent: pretrained weights of the plan's model.
        data: trains on `train`, measures on `val`.
        recipe: how to train.
        seed: of everything drawn at random.
        device: a torch device.
        parts: the parts that the plan may name.
    """

    plan: Plan
    parent: Checkpoint
    data: Splits
    recipe: Recipe
    seed: int
    device: str
    parts: Parts

    @property
    def setup(self) -> Setup:
        """Where and how numbers are computed."""
        return Setup(self.device, self.recipe.precision, self.recipe.threads)

    @property
    def label(self) -> str:
        """The plan in a few words, for messages."""
        kept = f", {len(self.plan.keep)} groups pruned" if self.plan.keep else ""
        codec = "" if self.plan.codec == "identity" else f", {self.plan.codec}"
        where = f"{self.plan.model} after {self.plan.cut.after}"
        return f"plan {self.plan.hash[:12]} ({where}{kept}{codec})"

    def stream(self, what: str) -> int:
        """Return the seed of an independent stream of random numbers of this plan."""
        return substream(self.seed, self.plan.hash, what)


def measure(
    plan: Plan,
    parent: Checkpoint,
    data: Splits,
    recipe: Recipe,
    seed: int,
    *,
    device: str = "cpu",
    parts: Parts | None = None,
    test: bool = False,
    progress: Progress | None = None,
) -> Measurement:
    """Build, train and measure a plan.

    Args:
        plan: what to build.
        parent: pretrained weights of the plan's model.
        data: trains on `train`, measures on `val`; `test` is read only when asked to.
        recipe: how to train.
        seed: of everything drawn at random.
        device: a torch device.
        parts: the parts that the plan may name; None for those installed.
        test: whether the plan is final, so that the test set may be read.
        progress: told after every pass over the training images.

    Raises:
        CoinferError: when the plan is not one of its model, the weights do not fit, a part is
            unknown or lacks what it needs, or training diverges.
    """
    job = Job(plan, parent, data, recipe, seed, device, parts or installed_parts())
    network, spent = build_plan(job, progress)
    size = input_size(network.input_shape)

    def right(images: ImageSet) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        network.reseed(job.stream("test noise"))
        return correct(network, images, size=size, setup=job.setup)

    payload = _known_payload(job, network)
    if payload is None:
        with network.counting_bits(_fit_coder(job, network)) as sizes_bits:
            validated = right(data.val)
        payload = _counted(sizes_bits)
    else:
        validated = right(data.val)
    tested = right(data.test) if test else None
    work = network.work(RULES)
    return Measurement(
        plan=plan,
        recipe=recipe.label,
        recipe_hash=recipe.hash,
        parent_sha256=parent.sha256,
        data_hash=data.hash,
        seed=seed,
        val_correct=pack(validated),
        val_n=len(validated),
        test_correct=None if tested is None else int(tested.sum()),
        test_n=None if tested is None else len(tested),
        payload=payload,
        device_flops=work.device,
        server_flops=work.server,
        encoder_flops=work.encoder,
        decoder_flops=work.decoder,
        epochs=spent.epochs,
        images=spent.images,
    )


def build_plan(job: Job, progress: Progress | None = None) -> tuple[SplitNetwork, Spent]:
    """Build and train a plan; return the split network and what training took.

    Raises:
        CoinferError: as `measure`.
    """
    spec = model_spec(job.plan.model)
    check_classes(spec, job.data)
    model = build(spec, seed=0)
    load_into(model, job.parent, spec.name)
    space = prune_space(model, spec.input_shape)
    space.graph.cut(job.plan.cut.after)  # a plan of another network ends here
    spent = Spent()
    phases = job.recipe.stage("fine-tune")
    if job.plan.keep:
        model, spent = _prune(job, model, space, phases, progress)
    else:
        spent = _train(job, model, phases, "fine-tune", progress)
    network = _split(job, model, spec.input_shape)
    _check_work(job, network, space)
    return network, spent + _train_through_codec(job, network, progress)


def _prune(
    job: Job,
    model: nn.Module,
    space: PruneSpace,
    phases: tuple[Phase, ...],
    progress: Progress | None,
) -> tuple[nn.Module, Spent]:
    """Remove what the plan does not keep, before or while the network is fine-tuned."""
    keep = dict(job.plan.keep)
    space.keep_vector(keep.items())
    if job.plan.criterion == NO_PART:
        raise CoinferError(f"{job.label} prunes but names no criterion; accepted: l1, fpgm, ...")
    criterion: Criterion = job.parts.make("criterion", job.plan.criterion)
    size = input_size(space.graph.input_shape)

    schedule: Schedule = OneShot()
    if job.plan.schedule != NO_PART:
        schedule = job.parts.make("schedule", job.plan.schedule)
    seen = job.data.train.first(_criterion_images(phases, schedule, len(job.data.train)))

    def calibration() -> Iterator[tuple[Tensor, Tensor]]:
        return batches(seen.images, seen.labels, _BATCH, size=size, device=job.device)

    if isinstance(schedule, OneShot):  # so the small network can be trained from the start
        with reproducible(job.setup, job.stream("criterion")):
            model.to(job.device).eval()
            if isinstance(criterion, Calibrates):
                criterion = criterion.calibrated(model, space, keep, calibration())
            kept = select(criterion, model, space, keep, calibration)
            if isinstance(criterion, Refits):
                criterion.refit(model, space, kept, calibration())
            small = remove(model.cpu(), space, kept)
        return small, _train(job, small, phases, "fine-tune", progress)
    masking = Masking(model, space, keep, criterion, schedule, calibration)
    spent = _train(job, model, phases, "fine-tune", progress, masking)
    kept = masking.finish()
    return remove(model.cpu(), space, kept), spent


def _criterion_images(phases: tuple[Phase, ...], schedule: Schedule, available: int) -> int:
    """Return how many images a criterion that needs data sees, each time that it chooses.

    At least one batch; where nothing is trained, all that it may see.
    """
    trained = steps = 0
    for phase in phases:
        images = phase.epochs * min(phase.images or available, available)
        trained, steps = trained + images, steps + images // phase.batch_size
    if not steps:
        return min(_CRITERION_IMAGES, available)
    choices = len({schedule.progress(step, steps) for step in range(steps)})
    share = int(_CRITERION_SHARE * trained / choices)
    return min(max(share, _BATCH), _CRITERION_IMAGES, available)


def _split(job: Job, model: nn.Module, input_shape: tuple[int, ...]) -> SplitNetwork:
    plan, parts = job.plan, job.parts
    generator = torch.Generator().manual_seed(job.stream("codec"))
    channel = None if plan.channel == NO_PART else parts.make("channel", plan.channel)
    return split_network(
        trace(model.cpu(), input_shape),
        plan.cut.after,
        parts.codec(plan.codec),
        parts.coder(plan.coder),
        channel,
        generator=generator,
    )


def _check_work(job: Job, network: SplitNetwork, space: PruneSpace) -> None:
    """Refuse a network whose halves do not do the work that the plan is priced at."""
    kept = space.keep_vector(job.plan.keep)
    place = [cut.after for cut in space.graph.cuts].index(network.cut.after)
    device = int(space.device_flops(kept, RULES)[0, place])
    whole = int(space.flops(kept, RULES).sum())
    work = network.work(RULES)
    if (work.device, work.device + work.server) != (device, whole):
        raise CoinferError(
            f"{job.label}: the real halves take {work.device:,} and {work.server:,} FLOPs, the "
            f"plan is priced at {device:,} and {whole - device:,}"
        )


def _train_through_codec(job: Job, network: SplitNetwork, progress: Progress | None) -> Spent:
    """Train the codec with the network frozen, then all end to end through the channel."""
    spent = _start(job, network)
    _calibrate(job, network)
    warming = _warming_up(network)
    halves = nn.ModuleList([network.device_part, network.server_part])
    halves.requires_grad_(False)
    if any(p.requires_grad for p in network.parameters()):
        spent += _train(job, network, job.recipe.stage("codec"), "codec", progress, warming)
    halves.requires_grad_(True)
    network.transmitting = True
    spent += _train(job, network, job.recipe.stage("joint"), "joint", progress)
    if spent.images:  # codes have changed
        _calibrate(job, network)
    return spent


def _start(job: Job, network: SplitNetwork) -> Spent:
    """Set the codec's first weights by what crosses, where the recipe says so."""
    spent = Spent()
    for phase in job.recipe.stage("start"):
        if not any(True for _ in network.encoder.parameters()):
            break
        with reproducible(job.setup, job.stream("start")), torch.no_grad():
            network.to(job.device)
            inputs = _images(job, network, job.data.train, phase.images)
            features = torch.cat([network.device_part(some) for some in inputs])
            principal_start(network.encoder, network.decoder, features)
        spent += Spent(0, len(features), 0)
    return spent


def _train(
    job: Job,
    network: nn.Module,
    phases: tuple[Phase, ...],
    what: str,
    progress: Progress | None,
    hook: StepHook | None = None,
) -> Spent:
    spent = Spent()
    size = input_size(model_spec(job.plan.model).input_shape)
    for number, phase in enumerate(phases):
        spent += train(
            network,
            job.data.train,
            phase,
            seed=job.stream(f"{what} {number}"),
            size=size,
            setup=job.setup,
            label=job.label,
            # A schedule runs over the first phase; later ones go on under its last mask.
            hooks=() if hook is None else (hook,),
            progress=progress,
        )
    return spent


@dataclass
class _WarmUp:
    """Has a network transmit once a batch's cross-entropy is below a number."""

    network: SplitNetwork
    below: float

    def before_step(self, step: int, steps: int) -> None:
        """Do nothing."""

    def after_step(self, cross_entropy: Tensor) -> None:
        """Look at the loss while codes pass as they are."""
        if not self.network.transmitting and cross_entropy.item() < self.below:
            self.network.transmitting = True


def _warming_up(network: SplitNetwork) -> _WarmUp | None:
    """Let codes pass as they are, where the coder asks for a warm-up; return what ends it.

    It ends with the codec's stage at the latest: all that is trained end to end is transmitted.
    """
    below = getattr(network.coder, "warm_up", None)
    if below is None:
        return None
    network.transmitting = False
    return _WarmUp(network, below)


def _calibrate(job: Job, network: SplitNetwork) -> None:
    with reproducible(job.setup, job.stream("calibrate")), memory_kept(job.device):
        network.to(job.device)
        network.calibrate(_images(job, network, job.data.train, _CODER_IMAGES))


def _known_payload(job: Job, network: SplitNetwork) -> Payload | None:
    """Return what crosses where it needs no counting; None where bytes of images are counted."""
    if network.cut.kind == "output":
        return Payload(0.0, 0.0, 0.0, None, "analytic")
    channel = None
    if job.plan.channel != NO_PART:
        channel = job.parts.make("channel", job.plan.channel)
    elements = int(np.prod(network.code_shape))
    if channel is not None and channel.analog:
        return Payload(None, None, None, int(channel.uses(elements)), "analytic")
    coder = network.coder
    if sends_source(coder) or coder.evidence == "analytic":
        from coinfer.tasks import source_of

        source = source_of(model_spec(job.plan.model))
        bits = float(np.asarray(coder.bits(elements, source)))
        return Payload(bits, bits, bits, None, coder.evidence)
    return None


def _fit_coder(job: Job, network: SplitNetwork) -> FittedCoder:
    with reproducible(job.setup, job.stream("payload")), memory_kept(job.device):
        return network.fit_coder(_images(job, network, job.data.train, _CODER_IMAGES))


def _counted(sizes_bits: list[NDArray[np.int64]]) -> Payload:
    """Return the payload of images that take so many bits, in batches."""
    sizes = np.concatenate(sizes_bits)
    p5, p95 = np.quantile(sizes, (0.05, 0.95))
    return Payload(float(sizes.mean()), float(p5), float(p95), None, "measured")


def _images(
    job: Job, network: SplitNetwork, images: ImageSet, most: int | None = None
) -> Iterator[Tensor]:
    """Yield images as inputs, in order, in the memory format that accuracy is measured in."""
    size = input_size(network.input_shape)
    passes = batches(
        *(images.images, images.labels, _BATCH),
        size=size,
        device=job.device,
        channels_last=is_channels_last(network, size, job.setup),
    )
    count = len(images) if most is None else min(most, len(images))
    return (inputs for inputs, _ in islice(passes, -(-count // _BATCH)))
