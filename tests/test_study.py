"""Studies as figures: every training of the file, marks read from the recipes."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import tables
from benchmarks.studies import CODE_STUDY, RECIPE_STUDY
from benchmarks.tables import Study, find_study, study_names
from coinfer.accuracy.recipe import CPU, DIGITS, PAPER, RECIPES, Phase, Recipe
from coinfer.errors import CoinferError
from reproduce import study
from reproduce.claims import papers
from reproduce.cli import reproduce
from reproduce.collect import study_for_figures
from reproduce.draw import FORMATS, _apart, _levels, house_style

ORIGIN = {
    "model": "alexnet-cifar", "parent_sha256": "ab" * 32, "parent": {}, "data": "cifar10",
    "data_hash": "cd" * 32, "seed": 0,
}  # fmt: skip
ACCURACIES = {
    (0.0, 5000): 0.76, (0.0, 45000): 0.77, (0.0, 700000): 0.78,
    (0.3, 5000): 0.72, (0.3, 45000): 0.75, (0.3, 700000): 0.775,
    (0.8, 5000): 0.11, (0.8, 45000): 0.43,  # the longest is not trained yet
}  # fmt: skip


def row(sparsity: float, images: int, accuracy: Any, **other: Any) -> dict[str, str]:
    known = {
        "sparsity": sparsity, "images": images, "val_accuracy": accuracy, "val_std_error": 0.006,
        "val_n": 5000, "flops": 100, "seconds": 1.5, "machine": "m", "code": "c0de",
        "plan_hash": "1" * 64, "result_hash": "2" * 64, **other,
    }  # fmt: skip
    return {name: str(known[name]) for name in RECIPE_STUDY.columns}


def made(*rows: dict[str, str], **origin: Any) -> Study:
    found = rows or tuple(row(*place, value) for place, value in ACCURACIES.items())
    return Study("small", RECIPE_STUDY, {**ORIGIN, **origin}, {"m": {"cpu": "x"}}, tuple(found))


def codes() -> Study:
    """A code study, its rows in no order."""
    cases = {
        ("three-step", "features.12", "threestep-linear[width=256]"): (0.74, 0.76),
        ("none", "classifier.4", "identity"): (0.75, 0.77),
        ("three-step", "features.9", "threestep-conv[channels=256]"): (0.7, 0.75),
        ("cia", "features.9", "cia-conv[channels=32,width=8]"): (0.6, 0.74),
    }
    rows = [
        {**row(0.0, images, value), **dict(zip(CODE_STUDY.cases, case, strict=True))}
        for case, values in cases.items()
        for images, value in zip((10_240, 40_960), values, strict=True)
    ]
    found = tuple({name: one[name] for name in CODE_STUDY.columns} for one in rows)
    return Study("codes", CODE_STUDY, ORIGIN, {"m": {"cpu": "x"}}, found)


def file(folder: Path, of: Study) -> Path:
    path = folder / f"{of.name}.csv"
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, of.kind.columns)
        writer.writeheader()
        writer.writerows(of.rows)
    about = {"origin": of.origin, "samples": len(of.rows), "machines": of.machines}
    path.with_suffix(".json").write_text(json.dumps(about))
    return path


def run(path: Path, out: Path, figure: str = "study") -> str:
    arguments = [figure, "--table", str(path), "--out", str(out)]
    done = CliRunner().invoke(reproduce, arguments, catch_exceptions=False, standalone_mode=False)
    assert done.return_value == 0
    return done.output


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("study")
    return folder / "out", run(file(folder, made()), folder / "out")


def test_everything_is_written(reproduced: tuple[Path, str]) -> None:
    folder, printed = reproduced
    names = {path.name for path in folder.iterdir()}
    assert names == {*(f"study.{form}" for form in FORMATS), "study.csv", "study.json"}
    assert all(str(folder / name) in printed for name in names)


def test_a_second_run_of_the_same_rows_gives_the_same_bytes(
    reproduced: tuple[Path, str], tmp_path: Path
) -> None:
    shuffled = made(*made().rows[::-1])
    run(file(tmp_path, shuffled), tmp_path / "out")
    run(file(tmp_path, shuffled), tmp_path / "out")  # over its own files
    for path in reproduced[0].iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


def test_the_data_are_those_of_the_study(reproduced: tuple[Path, str]) -> None:
    with (reproduced[0] / "study.csv").open(newline="") as data:
        records = list(csv.DictReader(data))
    places = [(float(record["sparsity"]), int(record["images"])) for record in records]
    assert places == sorted(ACCURACIES)
    for place, record in zip(places, records, strict=True):
        assert float(record["val_accuracy"]) == ACCURACIES[place]
        assert (record["val_std_error"], record["val_n"]) == ("0.006", "5000")
        assert (record["model"], record["data"], record["seed"]) == (
            "alexnet-cifar",
            "cifar10",
            "0",
        )
        assert (record["evidence"], record["result_hash"]) == ("measured", "2" * 64)
    about = json.loads((reproduced[0] / "study.json").read_text())
    assert (about["origin"], about["rows"]) == (ORIGIN, len(ACCURACIES))
    assert (about["machines"], about["code"]) == ({"m": {"cpu": "x"}}, ["c0de"])


def test_the_footnote_names_network_noise_and_the_hash_of_the_data(
    reproduced: tuple[Path, str],
) -> None:
    note = study.footnote(made())
    digest = hashlib.sha256((reproduced[0] / "study.csv").read_bytes()).hexdigest()
    for word in ("alexnet-cifar on cifar10", "8 trainings", "5,000 validation", digest[:12]):
        assert word in note
    assert "measured" in note


def _drawn(of: Study):  # type: ignore[no-untyped-def]
    with house_style():
        return study.draw(of)


def test_every_training_is_a_point_with_its_error_bar() -> None:
    axis = _drawn(made()).axes[0]
    assert axis.get_xscale() == "log"
    found = {}
    for container, sparsity in zip(axis.containers, (0.0, 0.3, 0.8), strict=True):
        line, _, (bars,) = container
        for (x, y), segment in zip(line.get_xydata(), bars.get_segments(), strict=True):
            found[sparsity, int(x)] = y / 100
            assert segment[:, 1] == pytest.approx([y - 0.6, y + 0.6])
        assert line.get_linestyle() == ("--" if sparsity == 0 else "-")
    assert found == {place: pytest.approx(value) for place, value in ACCURACIES.items()}
    names = [text.get_text() for text in axis.texts]
    assert names[:3] == ["unpruned (baseline)", "30 % pruned", "80 % pruned"]


def test_recipes_are_marked_where_their_fine_tuning_ends() -> None:
    axis = _drawn(made()).axes[0]
    marks = [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == ":"]
    # Read from the recipes: nine tenths of the training part are trained on.
    assert marks == list(study.recipe_lengths(45_000, "cifar10", ("fine-tune",)))
    assert PAPER.stage("fine-tune")[0].epochs * 45_000 in marks
    low, high = axis.get_xlim()
    assert all(low < mark < high for mark in marks)
    told = " ".join(text.get_text() for text in axis.texts)
    fine_tuning = [one for one in RECIPES.values() if one.stage("fine-tune")]
    assert all(one.label in told for one in fine_tuning if one.name != DIGITS.name)
    assert DIGITS.label not in told


def test_codes_are_held_against_the_network_without_one(tmp_path: Path) -> None:
    """Curves in the order of families and cuts, whatever the order of the rows."""
    axis = _drawn(codes()).axes[0]
    names = ["no code (baseline)", "cia, features.9", "three-step, features.9"]
    names.append("three-step, features.12")
    assert [text.get_text() for text in axis.texts][:4] == names
    lines = [container[0] for container in axis.containers]
    assert [line.get_linestyle() for line in lines] == ["--", "-", "-", "-"]
    assert lines[2].get_ydata() == pytest.approx([70, 75])
    # Marked are whole recipes: their fine-tuning, codec and joint training together.
    whole = study.recipe_lengths(45_000, "cifar10", ("fine-tune", "codec", "joint"))
    marks = [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == ":"]
    assert marks == list(whole)
    assert whole[sum(phase.images or 45_000 for phase in CPU.phases)] == (CPU.label,)
    # The study's codes start at random.
    assert "brief-v2" not in [label for labels in whole.values() for label in labels]
    out = tmp_path / "out"
    run(file(tmp_path, codes()), out, "codes")
    names_written = {*(f"codes.{form}" for form in FORMATS), "codes.csv", "codes.json"}
    assert {path.name for path in out.iterdir()} == names_written
    with (out / "codes.csv").open(newline="") as data:
        records = list(csv.DictReader(data))
    assert [record["family"] for record in records[::2]] == [
        *("none", "cia", "three-step", "three-step"),
    ]
    assert json.loads((out / "codes.json").read_text())["made_by"] == "coinfer reproduce codes"
    with pytest.raises(CoinferError, match="is a code study; accepted: a recipe study"):
        run(tmp_path / "codes.csv", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_claims_and_readme_say_what_the_shipped_code_study_found() -> None:
    found = study.points(study_for_figures(None, CODE_STUDY))
    lengths = sorted({point.images for point in found})
    assert lengths[1] == sum(phase.images or 45_000 for phase in CPU.phases)
    lost: dict[int, list[float]] = {images: [] for images in lengths}
    for images in lengths:
        own = [point for point in found if point.images == images]
        (baseline,) = (point.accuracy for point in own if point.baseline)
        lost[images] = [100 * (baseline - point.accuracy) for point in own if not point.baseline]
        assert len(lost[images]) == 6
    under_cpu, longest = lost[lengths[1]], lost[lengths[-1]]
    # "for want of training": the same codes within a point, after more of it.
    assert min(under_cpu) > 1 > max(longest)
    readme = " ".join((Path(__file__).parent.parent / "README.md").read_text().split())
    assert (
        f"cost the unpruned `alexnet-cifar` {min(under_cpu):.1f} to {max(under_cpu):.1f} points"
        in readme
    )
    assert f"none costs more than {max(longest):.1f} (`coinfer reproduce codes`;" in readme
    told = [claim for claim in papers()["A"].claims if "want of training" in claim.note]
    assert {claim.id for claim in told} == {
        *("A-f2-comm.2", "A-f2-comp.2", "A-f2-pareto.3", "A-f3.6", "A-f3.7")
    }


def test_the_length_of_a_recipe_is_what_all_its_fine_tuning_sees() -> None:
    def recipe(name: str, *phases: Phase) -> Recipe:
        return Recipe(name, 3, phases)

    recipes = {
        one.name: one
        for one in (
            recipe("whole", Phase("fine-tune", 20, 0.1), Phase("codec", 9, 0.1)),
            recipe("subset", Phase("fine-tune", 2, 0.1, images=300)),
            recipe("twice", Phase("fine-tune", 1, 0.1, images=100), Phase("fine-tune", 5, 0.1)),
            recipe("also", Phase("fine-tune", 1, 0.1, images=600), Phase("joint", 1, 0.1)),
            recipe("none", Phase("codec", 1, 0.1)),
            recipe("digits", Phase("fine-tune", 1, 0.1)),
        )
    }
    lengths = study.recipe_lengths(1000, "cifar10", ("fine-tune",), recipes)
    assert lengths == {600: ("subset-v3", "also-v3"), 5100: ("twice-v3",), 20_000: ("whole-v3",)}
    assert list(lengths) == sorted(lengths)
    assert study.recipe_lengths(1000, "digits", ("fine-tune",), recipes)[1000] == ("digits-v3",)


def test_no_text_lies_over_another() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # Curves that end in one place, a single point, no baseline, and the shipped studies.
    near = made(*(row(s, 700_000, 0.75 + s / 100) for s in (0.0, 0.1, 0.2, 0.3, 0.6)))
    shipped = [find_study(name) for name in study_names()]
    for of in (made(), near, made(row(0.6, 90_000, 0.5)), codes(), *shipped):
        drawn = _drawn(of)
        FigureCanvasAgg(drawn).draw()
        axis = drawn.axes[0]
        texts = [*drawn.texts, axis.xaxis.label, axis.yaxis.label, *axis.texts]
        texts += [*axis.get_xticklabels(), *axis.get_yticklabels()]
        low, high = axis.get_xlim()
        bottom, top = axis.get_ylim()
        boxes = []
        for text in texts:
            x, y = text.get_position()
            tick = text in axis.get_xticklabels() or text in axis.get_yticklabels()
            if text.get_text() and (not tick or (low <= x <= high or bottom <= y <= top)):
                boxes.append((text.get_text(), _extent(text)))
        for i, (one, box) in enumerate(boxes):
            assert (box.x0 >= 0, box.y0 >= 0) == (True, True), one
            assert (box.x1 <= drawn.bbox.x1, box.y1 <= drawn.bbox.y1) == (True, True), one
            for other, another in boxes[i + 1 :]:
                assert not box.overlaps(another), (one, other)


def _extent(text: Any) -> Any:
    """The box of the words alone, without the line that leads to them."""
    from matplotlib.text import Text

    return Text.get_window_extent(text)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.floats(0.1, 10))
def test_names_are_moved_apart_and_keep_their_order(heights: list[float], gap: float) -> None:
    found = _apart(heights, gap)
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    for low, high in pairwise(order):
        assert found[high] - found[low] >= gap * (1 - 1e-9)
    # As a whole they stay where they are.
    assert sum(found) == pytest.approx(sum(heights), abs=1e-6)


def test_names_that_are_far_apart_stay() -> None:
    assert _apart([10.0, 70.0, 40.0], 5.0) == [10.0, 70.0, 40.0]
    assert _apart([70.0, 70.0], 4.0) == [68.0, 72.0]


def test_marks_that_are_near_each_other_take_another_line() -> None:
    assert _levels([1e3, 1e5], (1e2, 1e6)) == [0, 0]
    assert _levels([1e3, 1.1e3, 1.2e3, 1e5], (1e2, 1e6)) == [0, 1, 2, 0]


# Which study, and what is refused.


def test_the_largest_study_of_the_network_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {
        "a": made(row(0.0, 1, 0.5)),
        "b": made(row(0.0, 1, 0.5), row(0.3, 1, 0.5)),
        "other": made(model="resnet18"),
        "small": made(data="digits"),
    }
    monkeypatch.setattr(tables, "study_names", lambda: sorted(held))
    monkeypatch.setattr(tables, "find_study", held.__getitem__)
    assert study_for_figures(None, RECIPE_STUDY) is held["b"]
    monkeypatch.setattr(tables, "study_names", lambda: ["other"])
    with pytest.raises(CoinferError, match="no recipe study of alexnet-cifar ships"):
        study_for_figures(None, RECIPE_STUDY)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (row(0.3, 100, "much"), "damaged: could not convert"),
        (row(0.3, 100, 1.5), "damaged: accuracy 1.5"),
        (row(0.3, 100, math.nan), "damaged: accuracy nan"),
        (row(0.3, 100, 0.5, val_std_error=-1), "damaged"),
        (row(0.3, 0, 0.5), "damaged"),
        (row(0.3, 100, 0.5, val_std_error=math.inf), "damaged"),
        (row(0.3, 10**400, 0.5), "damaged"),
    ],
)
def test_a_damaged_study_is_one_line(bad: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(CoinferError, match=told) as refused:
        run(file(tmp_path, made(*made().rows, bad)), tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_study_without_rows_or_origin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CoinferError, match="has no rows"):
        study.points(replace(made(), rows=()))
    path = file(tmp_path, made())
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(CoinferError, match=r"small\.json' lacks 'origin'"):
        find_study(str(path))
    with pytest.raises(CoinferError, match="unknown study 'none'"):
        find_study("none")


def test_files_of_another_origin_are_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "study.json").write_text('{"mine": 1}')
    with pytest.raises(CoinferError, match="is there already and `coinfer reproduce` did not"):
        run(file(tmp_path, made()), out)
    assert [path.name for path in out.iterdir()] == ["study.json"]
    assert (out / "study.json").read_text() == '{"mine": 1}'
