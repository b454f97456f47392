"""`coinfer check-method`: every failure is explained, and no method can take the command along."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from coinfer.cli import run
from coinfer.errors import CoinferError
from coinfer.method import Context, Library, Method
from coinfer.plan import Scenario, Selection
from methods.checking import MENDS, Target, check, checks, lines_of, promise
from methods.exhaustive import Exhaustive
from methods.qho import Qho
from methods.worlds import scenario, small_task
from tests.test_conformance import BAD, Good, RefusesEverything

FILE = dedent(
    '''
    """A method of somebody else, which does `{what}` where the link is slow."""
    import ctypes, itertools, os, signal, time
    from dataclasses import dataclass
    from typing import ClassVar
    from coinfer.method import Method, MethodCard
    from coinfer.plan import CutRef, Plan, Selection

    def swallow():
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                pass

    @dataclass(frozen=True)
    class First(Method):
        card: ClassVar[MethodCard] = MethodCard(
            name="first_cut", title="First", idea="Cut first.", reference="a test")
        shift: int = 0
        def select(self, library, scenario, context):
            if scenario.rate_bps == 1e3:
                {what}
            cut = context.cuts[self.shift]
            return Selection(Plan(context.task.model, CutRef(cut.index, cut.after)), evaluations=1)
    '''
)


def file_that(folder: Path, what: str = "pass") -> str:
    path = folder / "first.py"
    path.write_text(FILE.replace("{what}", what))
    return str(path)


@pytest.mark.parametrize(
    ("method", "name", "words"), BAD, ids=[type(method).__name__ for method, _, _ in BAD]
)
def test_a_failure_says_what_was_expected_what_happened_where_and_what_to_do(
    method: Method, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = check(method, name)
    assert (found.check, found.outcome) == (name, "fail")
    assert found.promise == promise(name)
    assert words in found.happened
    assert "test_conformance.py:" in found.where
    assert found.mend == MENDS[name].text
    (head, *told) = lines_of(found, {})
    assert head == f"FAIL  {name}"
    assert [line.split()[0] for line in told] == ["expected", "happened", "where", "mend"]


def test_every_check_has_a_promise_and_a_mend() -> None:
    assert set(MENDS) == set(checks())
    assert all(promise(name).endswith(".") and mend.text for name, mend in MENDS.items())
    with pytest.raises(CoinferError, match="unknown check 'is_fast'"):
        check(Good(), "is_fast")


def test_the_world_that_was_asked_about_is_told_where_one_was() -> None:
    found = check(next(m for m, name, _ in BAD if name == "keeps_its_budget"), "keeps_its_budget")
    assert "network 'small'" in found.where
    assert "bit/s" in found.where
    assert "network" not in check(BAD[0][0], "has_a_valid_card").where


@dataclass(frozen=True)
class Raises(Good):
    """Fails where it is asked, with an error of its own."""

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        raise KeyError("no such layer")


@dataclass(frozen=True)
class Asserts(Good):
    """Holds something for certain that is not so."""

    def select(self, library: Library, scenario: Scenario, context: Context) -> Selection:
        raise AssertionError("it is so")


def test_an_exception_of_the_adapter_is_told_with_its_line() -> None:
    found = check(Raises(), "is_deterministic")
    assert found.happened == "it raises KeyError: 'no such layer'"
    assert "test_check_method.py" in found.where
    assert "in select" in found.where
    assert "Skip" in found.mend
    # An assertion of its own is none of the kit's.
    assert check(Asserts(), "is_deterministic").happened == "it raises AssertionError: it is so"


def test_the_same_failure_is_explained_once() -> None:
    seen: dict[tuple[str, str], str] = {}
    first = list(lines_of(check(Raises(), "returns_valid_plans"), seen))
    again = list(lines_of(check(Raises(), "is_deterministic"), seen))
    assert len(first) == 5
    assert len(again) == 3
    assert "the same as in returns_valid_plans" in again[-1]


def test_what_cannot_be_asked_is_skipped_and_not_passed() -> None:
    assert check(RefusesEverything(), "runs_somewhere").outcome == "fail"
    skipped = check(RefusesEverything(), "returns_valid_plans")
    assert (skipped.outcome, skipped.happened) == (
        "skip",
        "the method refuses every world of the kit",
    )
    assert check(Exhaustive(), "brings_valid_parts").outcome == "skip"  # it has none
    assert check(Good(), "returns_valid_plans").outcome == "ok"


def test_a_target_is_a_file_a_class_or_a_name_each_with_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_that(tmp_path)
    monkeypatch.chdir(tmp_path)
    for text, files, ref in (
        (file, (), "first_cut"),
        ("first.py:First", (), "first_cut"),
        ("first.py[shift=1]", (), "first_cut[shift=1]"),
        ("first.py:First[shift=1]", ("first.py",), "first_cut[shift=1]"),
        ("first_cut", (file,), "first_cut"),
        ("neurosurgeon[objective=energy]", (), "neurosurgeon[objective=energy]"),
    ):
        assert str(Target(text, files).found()[0].ref) == ref


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gone.py", "cannot read 'gone.py'"),
        ("first.py:Second", "unknown method class of 'first.py' 'Second'; known: First"),
        ("first.py:", "unknown method class of 'first.py' ''"),
        ("first.py[slope=1]", "unknown option of method 'first_cut' 'slope'"),
        ("two.py", "'two.py' defines 2 methods; say which: two.py:First, two.py:Other"),
        ("nothing.py", "'nothing.py' defines no method"),
        ("firts_cut", "unknown method 'firts_cut'"),
    ],
)
def test_a_target_that_is_none_is_refused_in_one_line(
    text: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file_that(tmp_path)).read_text()
    other = '\nclass Other(First):\n    card = MethodCard("other", "O", "i", "r")\n'
    (tmp_path / "two.py").write_text(FILE.replace("{what}", "pass") + other)
    (tmp_path / "nothing.py").write_text("x = 1\n")
    with pytest.raises(CoinferError, match=words) as caught:
        Target(text).found()
    assert "\n" not in str(caught.value)
    # And so does the command, whose worker finds it out.
    assert run(["check-method", text]) == 2
    assert words in capsys.readouterr().err


def test_a_good_method_passes_and_its_report_is_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = [word for name in ("builds_json", "is_deterministic") for word in ("--only", name)]
    assert run(["check-method", file_that(tmp_path), *only, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["method"], told["origin"]) == ("first_cut", "file first.py")
    assert [one["check"] for one in told["checks"]] == ["builds_json", "is_deterministic"]
    assert (told["ok"], told["fail"], told["skip"]) == (2, 0, 0)
    assert "ok    builds_json" in err  # the progress, apart from the answer


def test_a_bad_method_fails_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = "print('noise'); cut = context.cuts[99]"
    file = file_that(tmp_path, what)
    assert run(["check-method", f"{file}:First", "--only", "test_keeps_its_budget"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  keeps_its_budget" in out
    assert "it raises IndexError" in out
    line = 1 + (tmp_path / "first.py").read_text().splitlines().index(f"{' ' * 12}{what}")
    assert f"first.py:{line} in select" in out
    assert out.endswith("1 promise: 1 not kept\n")
    assert "noise" not in out


def test_what_is_checked_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check-method", "--list"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == list(checks())
    assert run(["check-method", "--list", "--format", "json"]) == 0
    assert [one["check"] for one in json.loads(capsys.readouterr().out)] == list(checks())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no method: give FILE.py"),
        (["neurosurgeon", "--only", "is_fast"], "unknown check 'is_fast'"),
        (["neurosurgeon", "--timeout", "0"], "--timeout is 0 s; allowed is a number above 0"),
    ],
)
def test_misuse_ends_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check-method", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("what", "seconds", "happened"),
    [
        ("time.sleep(1000)", "2", "it takes longer than 2 s"),
        ("swallow()", "2", "it takes longer than 2 s"),
        ("sum(itertools.repeat(0, 10**15))", "2", "it takes longer than 2 s"),  # native code
        ("os.kill(os.getpid(), signal.SIGKILL)", "60", "it ends its process"),
        ("os._exit(3)", "60", "it ends its process"),
        ("raise KeyboardInterrupt", "60", "it raises KeyboardInterrupt"),
    ],
)
def test_a_method_that_hangs_or_crashes_fails_its_check_alone(
    what: str, seconds: str, happened: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`survives_pickling` asks nothing, so that it passes before and `--only` keeps the order."""
    file = file_that(tmp_path, what)
    only = ["--only", "returns_valid_plans", "--only", "brings_valid_parts"]
    words = ["check-method", file, *only, "--only", "survives_pickling", "--format", "json"]
    assert run([*words, "--timeout", seconds]) == 1
    told = json.loads(capsys.readouterr().out)
    outcomes = {one["check"]: one["outcome"] for one in told["checks"]}
    assert outcomes == {
        "survives_pickling": "ok",
        "returns_valid_plans": "fail",
        "brings_valid_parts": "skip",  # told by a worker that came after
    }
    (failed,) = [one for one in told["checks"] if one["outcome"] == "fail"]
    assert failed["happened"].startswith(happened)
    if "longer" in happened:
        assert "first.py:" in failed["where"]
        assert "--timeout gives it more" in failed["mend"]


def test_after_two_checks_that_hang_the_others_are_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = file_that(tmp_path, "time.sleep(1000)")
    assert run(["check-method", file, "--timeout", "1"]) == 1
    out = capsys.readouterr().out
    assert out.count("FAIL") == 2
    assert "not begun: 2 checks took too long or crashed" in out


def test_a_file_that_hangs_when_it_is_imported_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "endless.py"
    path.write_text("import time\ntime.sleep(1000)\n")
    assert run(["check-method", str(path), "--timeout", "1"]) == 2
    assert "does not import within 1 s" in capsys.readouterr().err


def test_a_search_refuses_a_link_that_lets_nothing_through() -> None:
    """Plans that send cannot be compared there: all of them take for ever."""
    task, dead = small_task(groups=True), scenario(rate_bps=0.0)
    refused = Qho().supports(task, dead)
    assert refused is not None
    assert "nothing gets through the link" in refused.reason
    assert Qho().supports(task, scenario(rate_bps=1.0)) is None
