"""From a plan to a measured accuracy, on real digits: nothing here is simulated."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from coinfer.accuracy.checkpoints import Checkpoint, load_into
from coinfer.accuracy.cli import pretrain as pretrain_command
from coinfer.accuracy.measure import Job, build_plan, measure
from coinfer.accuracy.pretrain import pretrain
from coinfer.accuracy.recipe import DIGITS, PRETRAIN_DIGITS, UNTRAINED, Phase, Recipe
from coinfer.accuracy.training import Setup, correct
from coinfer.compression import scoring
from coinfer.compression.entropy import LearnedLevels
from coinfer.compression.groups import prune_space
from coinfer.compression.pipeline import SplitNetwork
from coinfer.data import load_splits
from coinfer.data.images import Splits
from coinfer.errors import CoinferError, UnknownNameError
from coinfer.models import build, model_spec
from coinfer.parts import installed_parts
from coinfer.plan import CutRef, Plan

MODEL = "alexnet-cifar[hidden=120]"
SPEC = model_spec(MODEL)
SPACE = prune_space(build(SPEC, device="meta"), SPEC.input_shape)
HALF = SPACE.keep_pairs(SPACE.kept_from_sparsity(0.5))
POOL2 = CutRef(6, "features.5")
LAST = CutRef(SPACE.graph.cuts[-1].index, SPACE.graph.cuts[-1].after)

# One pass of each phase over a few images: enough to run every path, not to learn much.
SHORT = Recipe(
    "short",
    1,
    tuple(
        Phase(stage, 1, 2e-3, images=128, batch_size=64, augmented=False)
        for stage in ("fine-tune", "codec", "joint")
    ),
    precision="fp32",
)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_splits("digits")


@pytest.fixture(scope="module")
def parent(digits: Splits) -> Checkpoint:
    return pretrain(SPEC, PRETRAIN_DIGITS, digits, 0)


def job(plan: Plan, parent: Checkpoint, data: Splits, recipe: Recipe = SHORT) -> Job:
    return Job(plan, parent, data, recipe, 0, "cpu", installed_parts())


def test_pruned_encoded_and_trained_through_noise(digits: Splits, parent: Checkpoint) -> None:
    """Half of every group, a sixteenth of what crosses, 15 dB of noise: it still reads digits."""
    codec = "conv[code_channels=6,hidden_channels=24]"
    plan = Plan(MODEL, POOL2, HALF, "l1", "one-shot", codec, channel="awgn[snr_db=15]")
    data = digits.without_test()
    found = measure(plan, parent, data, DIGITS, 0)
    assert found.payload.symbols == 96 * 2 * 2 // 16 // 2  # two real elements per complex symbol
    assert (found.payload.bits, found.val_n, found.test_correct) == (None, len(data.val), None)
    # A pipeline that learned nothing guesses one of ten: five standard errors above are not luck.
    chance = 0.1 + 5 * (0.1 * 0.9 / found.val_n) ** 0.5
    assert chance < 0.2
    assert found.val_accuracy > 3 * chance
    untrained = replace(DIGITS, phases=(replace(SHORT.phases[1], images=64, lr=1e-9),))
    assert measure(plan, parent, data, untrained, 0).val_accuracy < 2 * chance


def test_the_same_seed_gives_the_same_bits(digits: Splits, parent: Checkpoint) -> None:
    plan = Plan(
        *(MODEL, POOL2, HALF, "taylor", "incremental[iterations=2,steps=1]"),
        codec="bottlenet++[channels=4,spatial=1]",
        coder="uniform[bits=8]",
        channel="bsc[p=0.01]",
    )
    torch.manual_seed(1)
    first = measure(plan, parent, digits, SHORT, 0)
    torch.manual_seed(2)
    again = measure(plan, parent, digits, SHORT, 0)
    assert first.hash == again.hash
    pruned = Plan(MODEL, LAST, HALF, "l1")
    one, other = (measure(pruned, parent, digits, SHORT, seed) for seed in (0, 1))
    assert one.val_correct != other.val_correct


def test_unchanged_plans_measure_alike_at_every_side(digits: Splits, parent: Checkpoint) -> None:
    """Where nothing is encoded, the cut changes the work of the sides and nothing else."""
    one = build_plan(job(Plan(MODEL, LAST), parent, digits))[0]
    right = correct(one, digits.val, size=32, setup=Setup(precision="fp32"))
    whole = measure(Plan(MODEL, LAST), parent, digits, SHORT, 0)
    assert whole.val_flags.tolist() == right.tolist()
    assert (whole.server_flops, whole.payload.bits) == (0, 0.0)
    start = measure(Plan(MODEL, CutRef(0, "input")), parent, digits, SHORT, 0)
    assert (start.device_flops, start.server_flops) == (0, whole.device_flops)
    assert start.payload.bits == 32 * 3 * 32 * 32
    raw = measure(Plan(MODEL, CutRef(0, "input"), coder="raw8"), parent, digits, SHORT, 0)
    assert raw.payload.bits == 8 * 3 * 32 * 32


def test_work_and_payload_are_those_of_the_plan(digits: Splits, parent: Checkpoint) -> None:
    plan = Plan(MODEL, POOL2, HALF, "fpgm")
    found = measure(plan, parent, digits, SHORT, 0)
    kept = SPACE.keep_vector(HALF)
    at = [cut.after for cut in SPACE.graph.cuts].index(POOL2.after)
    assert found.device_flops == SPACE.device_flops(kept)[0, at]
    assert found.device_flops + found.server_flops == SPACE.flops(kept).sum()
    assert found.payload.bits == 32 * SPACE.elements(kept)[0, at]
    assert found.epochs == 2
    assert found.images == 256


def test_measured_payloads_are_encoded_bytes(digits: Splits, parent: Checkpoint) -> None:
    plan = Plan(MODEL, POOL2, HALF, "l2", coder="huffman[bits=6]")
    found = measure(plan, parent, digits, SHORT, 0).payload
    fixed = 6 * 96 * 2 * 2
    assert found.evidence == "measured"
    assert found.bits is not None
    assert found.p5_bits is not None
    assert found.p95_bits is not None
    assert found.p5_bits < found.bits < found.p95_bits < fixed


def test_a_recipe_without_phases_trains_nothing(digits: Splits, parent: Checkpoint) -> None:
    """The baseline is the parent as it is, and a few bits lose only what quantising loses."""
    whole = measure(Plan(MODEL, LAST), parent, digits, UNTRAINED, 0)
    model = build(model_spec(MODEL), seed=0)
    load_into(model, parent, MODEL)
    right = correct(model.eval(), digits.val, size=32, setup=Setup(precision="fp32"))
    assert whole.val_flags.tolist() == right.tolist()
    plans = {bits: Plan(MODEL, POOL2, coder=f"huffman[bits={bits}]") for bits in (1, 8)}
    found = {bits: measure(plan, parent, digits, UNTRAINED, 0) for bits, plan in plans.items()}
    assert all((m.epochs, m.images) == (0, 0) for m in (whole, *found.values()))
    apart = np.mean(found[8].val_flags != whole.val_flags)
    assert apart < np.mean(found[1].val_flags != whole.val_flags)
    assert apart < 0.02
    sizes = [found[bits].payload.bits or 0.0 for bits in (1, 8)]
    assert 0 < sizes[0] < sizes[1] < 8 * 192 * 4 * 4


def test_a_recipe_may_start_codecs_from_principal_components(
    digits: Splits, parent: Checkpoint
) -> None:
    """Untrained, a sixteenth of what crosses is then worth nearly all of it; at random, nothing."""
    plan = Plan(MODEL, POOL2, codec="conv[code_channels=24,code_stride=2,hidden_channels=96]")
    started = Recipe("started", 1, (Phase("start", 1, 1.0, images=500),), precision="fp32")
    found = measure(plan, parent, digits, started, 0)
    uncoded = measure(replace(plan, codec="identity"), parent, digits, started, 0)
    drawn = measure(plan, parent, digits, UNTRAINED, 0)
    assert found.val_accuracy > uncoded.val_accuracy - 0.1 > drawn.val_accuracy + 0.2
    torch.manual_seed(1)
    assert measure(plan, parent, digits, started, 0).hash == found.hash
    # What was looked at counts, in whole batches; a plan without a codec looks at nothing.
    assert (found.epochs, found.images, uncoded.images) == (0, 512, 0)
    # A quantiser's range is that of the codes sent.
    coded = replace(plan, coder="uniform[bits=8]")
    assert measure(coded, parent, digits, started, 0).val_accuracy > found.val_accuracy - 0.05


def test_weights_replace_no_other_file(tmp_path: Path) -> None:
    """A store that is named by mistake is kept, and nothing is trained first."""
    store = tmp_path / "results.sqlite"
    store.write_bytes(b"SQLite format 3\0 and rows")
    done = CliRunner().invoke(pretrain_command, [MODEL, "--data", "digits", "-o", str(store)])
    assert "holds no weights: it is not replaced" in str(done.exception)
    assert store.read_bytes() == b"SQLite format 3\0 and rows"


def test_learned_levels_are_trained(digits: Splits, parent: Checkpoint) -> None:
    """A codebook moves only if the training asks the quantiser for its part of the loss."""
    plan = Plan(MODEL, POOL2, codec="threestep-conv[channels=4]", coder="codebook[bits=2]")
    network, _ = build_plan(job(plan, parent, digits))
    started = build_plan(job(plan, parent, digits, replace(SHORT, phases=SHORT.phases[:1])))[0]
    moved = network.quantiser.levels(), started.quantiser.levels()
    assert not np.array_equal(moved[0].points, moved[1].points)


@pytest.mark.parametrize(
    ("codec", "h"),
    [("threestep-conv[channels=5]", 5 * 4), ("threestep-linear[flatten=1,hidden=5,width=5]", 5)],
)
def test_three_step_sends_b_bits_for_each_of_h_symbols(
    codec: str, h: int, digits: Splits, parent: Checkpoint
) -> None:
    """Counted on bytes really encoded, of a network really pruned on the device alone."""
    keep = tuple(pair for pair in HALF if pair[0] in ("features.0", "features.3"))
    coder = "codebook[bits=6,high=1,low=-1]"
    plan = Plan(MODEL, POOL2, keep, "l2", "incremental[iterations=3,steps=1]", codec, coder)
    network, _ = build_plan(job(plan, parent, digits))
    images = torch.randn(9, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fitted = network.fit_coder([images])
    (codes,) = network.codes([images])
    lengths = [8 * len(fitted.encode(code)) for code in codes]
    assert lengths == [-(-h * 6 // 8) * 8] * 9
    found = measure(plan, parent, digits, SHORT, 0)
    assert found.payload.bits == lengths[0]
    kept = SPACE.keep_vector(keep)
    at = [cut.after for cut in SPACE.graph.cuts].index(POOL2.after)
    assert found.device_flops == SPACE.device_flops(kept)[0, at]


@pytest.mark.parametrize(("below", "sent"), [(inf, 1), (0.0, 0)])
def test_codes_pass_untransmitted_until_the_loss_is_small_and_the_codec_stage_at_most(
    below: float, sent: int, digits: Splits, parent: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of each stage: with `inf` the second is transmitted, with 0 none but the last."""
    monkeypatch.setattr(LearnedLevels, "warm_up", below)
    seen: list[bool] = []
    penalised = SplitNetwork.penalised

    def spy(network: SplitNetwork, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(network.transmitting)
        return penalised(network, images)

    monkeypatch.setattr(SplitNetwork, "penalised", spy)
    plan = Plan(MODEL, POOL2, codec="threestep-conv[channels=4]", coder="codebook[bits=2]")
    network, _ = build_plan(job(plan, parent, digits))
    assert seen == [False, bool(sent), True, True]
    assert network.transmitting
    seen.clear()
    build_plan(job(replace(plan, coder="uniform[bits=2]"), parent, digits))
    assert seen == [True] * 4


def test_the_test_set_is_read_only_when_asked_for(digits: Splits, parent: Checkpoint) -> None:
    plan = Plan(MODEL, LAST)
    with pytest.raises(CoinferError, match="out of reach"):
        measure(plan, parent, digits.without_test(), SHORT, 0, test=True)
    final = measure(plan, parent, digits, SHORT, 0, test=True)
    assert final.test_n == len(digits.test)
    assert final.test_accuracy is not None
    assert final.test_accuracy > 0.5


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(MODEL, CutRef(1, "conv1")), "conv1"),
        (Plan(MODEL, LAST, (("layer1.0.conv1", 3),), "l1"), "layer1.0.conv1"),
        (Plan(MODEL, LAST, (("features.0", 65),), "l1"), "allowed is 1 to 64"),
        (Plan(MODEL, LAST, HALF), "names no criterion"),
        (Plan(MODEL, LAST, HALF, "l3"), "l3"),
        (Plan(MODEL, POOL2, codec="convv"), "convv"),
        (Plan(MODEL, POOL2, coder="huffman", channel="awgn[snr_db=3]"), "awgn"),
    ],
)
def test_a_plan_that_is_not_of_this_network(
    plan: Plan, reason: str, digits: Splits, parent: Checkpoint
) -> None:
    with pytest.raises(CoinferError, match=reason):
        measure(plan, parent, digits, SHORT, 0)


def test_weights_of_another_network(digits: Splits, parent: Checkpoint) -> None:
    with pytest.raises(CoinferError, match=r"not of alexnet-cifar.*has shape \(120"):
        measure(Plan("alexnet-cifar", LAST), parent, digits, SHORT, 0)
    with pytest.raises(UnknownNameError):
        measure(Plan("alexnett", LAST), parent, digits, SHORT, 0)


def test_a_training_that_diverges_names_its_plan(digits: Splits, parent: Checkpoint) -> None:
    wild = replace(SHORT, phases=(replace(SHORT.phases[0], lr=1e12, images=640, epochs=3),))
    plan = Plan(MODEL, LAST, HALF, "l1")
    with pytest.raises(CoinferError, match=rf"plan {plan.hash[:12]} .*diverged: .* step \d+ of 30"):
        measure(plan, parent, digits, wild, 0)


def test_refitting_criteria_leave_a_better_start(digits: Splits, parent: Checkpoint) -> None:
    """LASSO with least squares (CPCDRL) against the same number of channels by L1, untrained."""
    still = replace(SHORT, phases=(replace(SHORT.phases[0], images=64, lr=1e-9),))
    accuracy = {
        criterion: measure(
            Plan(MODEL, LAST, HALF, criterion), parent, digits, still, 0
        ).val_accuracy
        for criterion in ("l1", "lasso[batches=8]")
    }
    assert accuracy["lasso[batches=8]"] > accuracy["l1"]


def test_batches_do_not_change_what_is_right(digits: Splits, parent: Checkpoint) -> None:
    network, _ = build_plan(job(Plan(MODEL, POOL2, HALF, "l1"), parent, digits))
    setup = Setup(precision="fp32")
    whole = correct(network, digits.val, size=32, setup=setup)
    some = correct(network, digits.val.first(100), size=32, setup=setup)
    assert np.array_equal(some, whole[:100])


@pytest.mark.parametrize(
    ("schedule", "images"),
    [("iterative[rounds=2]", 256), ("iterative[rounds=8]", 128), ("one-shot", 512)],
)
def test_a_criterion_sees_half_of_what_is_trained_on_between_choices(
    schedule: str, images: int, digits: Splits, parent: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass over 1,024 images in so many rounds; a batch of 128 at the least."""
    seen: list[int] = []
    real = scoring.taylor_scores

    def counting(model: Any, space: Any, batches: Any, absolute: str = "end") -> Any:
        given = list(batches)
        seen.append(sum(len(labels) for _, labels in given))
        return real(model, space, given, absolute)

    monkeypatch.setattr(scoring, "taylor_scores", counting)
    phase = Phase("fine-tune", 1, 2e-3, images=1_024, batch_size=64, augmented=False)
    recipe = Recipe("short", 1, (phase,), precision="fp32")
    build_plan(job(Plan(MODEL, LAST, HALF, "taylor", schedule), parent, digits, recipe))
    assert set(seen) == {images}
