"""The command line as a user meets it: help, answers, JSON, errors, exit codes, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from coinfer.cli import cli, run

QUESTION = (
    "plan --model alexnet --method neurosurgeon --device raspberry-pi-3b+ --server tesla-p100 "
    "--link 3g --convention qho2024"
)
NUMBERS = "plan --model alexnet --method all_server --device-flops 1e9 --server-flops 1e13"


def out(capsys: pytest.CaptureFixture[str], command: str) -> str:
    assert run(command.split()) == 0
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Run a command that must be refused; return its one line."""
    assert run(command.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("coinfer: ")
    assert captured.err.count("\n") == 1
    return captured.err


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += every_command(command, (*path, name))
    return found


@pytest.mark.parametrize("path", every_command(cli), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, " ".join([*path, "--help"]))
    assert "does not load" not in text
    context = click.Context(cli)
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command = found
    assert command.get_short_help_str(), "a command without a first line of help"
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert all(option.help for option in options), "an option without help"


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["list", "models"],
        ["list", "devices"],
        ["list", "links"],
        ["list", "methods"],
        ["list", "figures"],
        ["list", "conventions"],
        ["export", "--help"],
    ],
)
def test_the_light_commands_never_import_torch(command: list[str]) -> None:
    code = (
        "import sys; from coinfer.cli import run; "
        f"code = run({command!r}); "
        "heavy = {'torch', 'torchvision', 'pydantic', 'matplotlib', 'pyarrow', 'pandas'}; "
        "sys.exit(code or ', '.join(sorted(heavy & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_plan_answers_in_json_with_every_promised_field(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = json.loads(out(capsys, QUESTION + " --json"))
    assert answer["model"] == "alexnet"
    assert answer["method"] == "neurosurgeon"
    assert answer["plan"]["cut"] == {"index": 3, "after": "features.2"}
    time = answer["latency"]
    assert set(time) == {
        "device_s",
        "encode_s",
        "uplink_s",
        "round_trip_s",
        "decode_s",
        "server_s",
        "total_s",
    }
    # Eqs. 3-5 by hand: conv1, relu1 and pool1 on the device, 64 x 27 x 27 floats over 1.19 Mb/s.
    device = 2 * 55 * 55 * (3 * 121 + 1) * 64 + 55 * 55 * 64 + 9 * 27 * 27 * 64
    assert answer["device_flops"] == device
    assert answer["uplink_bits"] == 64 * 27 * 27 * 32
    assert time["device_s"] == pytest.approx(device / 0.2e9)
    assert time["uplink_s"] == pytest.approx(64 * 27 * 27 * 32 / 1.19e6)
    assert answer["total_flops"] == answer["device_flops"] + answer["server_flops"]
    assert answer["accuracy"] == 0.8742
    assert answer["evidence"] == {
        "latency": "analytic",
        "uplink_bits": "analytic",
        "accuracy_loss": "analytic",
        "accuracy": "published",
    }


def test_plan_says_the_same_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, QUESTION)
    assert "after features.2 (3 layers on the device)" in text
    assert "[analytic]" in text
    assert "87.42 %  [published]" in text


def test_numbers_given_by_flag_replace_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    command = QUESTION.replace("--link 3g", "--rate-bps 2e6") + " --device-flops 4e8 --json"
    answer = json.loads(out(capsys, command))
    assert answer["rate_bps"] == 2e6
    assert answer["latency"]["device_s"] == pytest.approx(answer["device_flops"] / 4e8)


def test_a_radio_gets_its_rate_from_the_snr(capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(out(capsys, NUMBERS + " --bandwidth-hz 1e6 --snr-db 0 --json"))
    assert answer["rate_bps"] == pytest.approx(1e6)
    assert answer["snr_db"] == 0.0


def test_our_own_assumption_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, NUMBERS + " --link radio-1mhz --snr-db 10")
    assert "assumed" in text
    assert "1 MHz is our choice" in text


def test_a_dead_link_is_infinitely_slow_and_still_json(capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(out(capsys, NUMBERS + " --rate-bps 0 --json"))
    assert answer["latency"]["total_s"] == "inf"


def test_a_skipped_method_is_an_answer_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, QUESTION.replace("neurosurgeon", "all_server[payload=png]"))
    assert "skipped: convention qho2024 admits float32 as payload, not png" in text


def test_a_rate_by_flag_keeps_the_rest_of_the_link(capsys: pytest.CaptureFixture[str]) -> None:
    command = QUESTION.replace("--link 3g", "--link 3g[round_trip_s=0.5] --rate-bps 1e6 --json")
    answer = json.loads(out(capsys, command))
    assert answer["link"] == "3g[rate_bps=1000000.0,round_trip_s=0.5]"
    assert answer["latency"]["round_trip_s"] == 0.5


def test_notes_on_a_preset_are_told_apart_from_our_assumptions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = json.loads(out(capsys, QUESTION + " --json"))
    assert answer["assumptions"] == []
    assert "0.2 GFLOPS as printed" in answer["notes"][0]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (QUESTION.replace("alexnet", "alexnt"), "unknown model 'alexnt'; did you mean 'alexnet'"),
        (QUESTION.replace("neurosurgeon", "neuro"), "did you mean 'neurosurgeon'"),
        (QUESTION.replace("raspberry-pi-3b+", "raspbery-pi-4"), "did you mean 'raspberry-pi-4b'"),
        (QUESTION.replace("--link 3g", "--link 33g"), "unknown link '33g'"),
        (QUESTION.replace("qho2024", "qho"), "did you mean 'qho2024'"),
        (QUESTION.replace("--link 3g", ""), "no link: give --link, --rate-bps"),
        (QUESTION.replace("raspberry-pi-3b+", "honor-8-lite"), "no FLOP/s is published"),
        (QUESTION.replace("raspberry-pi-3b+", "iphone-13"), "TOPS are not FLOPS"),
        (QUESTION.replace("neurosurgeon", "all_server[payload=5]"), "allowed: convention"),
        (QUESTION + " --bandwidth-hz 1e6", "bandwidth_hz"),
        (QUESTION.replace("--link 3g", "--link nonsense --rate-bps 1e6"), "unknown link"),
        (NUMBERS + " --rate-bps -1", "rate_bps is -1.0; allowed"),
        (NUMBERS + " --rate-bps nan", "rate_bps is nan; allowed"),
        (NUMBERS + " --bandwidth-hz 1e6", "needs an SNR"),
        (NUMBERS + " --bandwidth-hz 1e6 --rate-bps 1e6", "exclude each other"),
        (NUMBERS + " --rate-bps 1e6 --max-accuracy-loss 2", "max_accuracy_loss is 2.0; allowed"),
        (NUMBERS.replace("1e9", "0") + " --rate-bps 1e6", "flops_per_s is 0.0; allowed"),
        (NUMBERS + " --rate-bps fast", "not a valid float"),
        ("plann", "unknown command 'plann'; did you mean 'plan'"),
        ("list model", "unknown command 'model'; did you mean 'models'"),
        ("plan --modell alexnet", "--model"),
        ("plan --model nowhere.py:net --method all_local --rate-bps 1", "nowhere.py"),
    ],
)
def test_bad_input_gets_one_line_and_exit_2(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in complaint(capsys, command)


def test_a_model_that_cannot_be_traced_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x if x.sum() > 0 else -x\n"
    )
    command = NUMBERS.replace("alexnet", f"{path}:Net") + " --rate-bps 1"
    assert "Net" in complaint(capsys, command)


def test_a_failing_method_exits_1_with_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "failing.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from coinfer.method import Method, MethodCard\n"
        "@dataclass(frozen=True)\n"
        "class Failing(Method):\n"
        "    card = MethodCard(name='failing', title='F', idea='i', reference='r')\n"
        "    def select(self, library, scenario, context): raise ValueError('it broke')\n"
    )
    command = QUESTION.replace("neurosurgeon", "failing") + f" --method-file {path}"
    assert run(command.split()) == 1
    captured = capsys.readouterr()
    assert "failed: ValueError: it broke" in captured.out
    assert "failing.py" in captured.err


def test_a_model_of_the_users_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "from torch import nn\n"
        "def tiny():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(),"
        " nn.Linear(4 * 8 * 8, 2))\n"
    )
    command = (
        f"plan --model {path}:tiny[input=3x8x8] --method exhaustive --device-flops 1e6 "
        "--server-flops 1e12 --rate-bps 1e9 --json"
    )
    answer = json.loads(out(capsys, command))
    assert answer["plan"]["cut"]["after"] == "input"
    assert answer["uplink_bits"] == 3 * 8 * 8 * 8
    assert answer["accuracy"] is None


def completions(words: str, current: str) -> set[str]:
    environment = {
        **os.environ,
        "_COINFER_COMPLETE": "bash_complete",
        "COMP_WORDS": f"{words} {current}",
        "COMP_CWORD": str(len(words.split())),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from coinfer.cli import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.partition(",")[2] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("words", "current", "expected"),
    [
        ("coinfer", "pl", {"plan"}),
        ("coinfer plan --method", "neuro", {"neurosurgeon"}),
        ("coinfer plan --model", "alex", {"alexnet", "alexnet-cifar"}),
        ("coinfer plan --server", "tesla", {"tesla-p100"}),
        ("coinfer plan --link", "wi", {"wifi"}),
        ("coinfer plan --device", "raspberry-pi-3b+", {"raspberry-pi-3b+"}),
        ("coinfer list", "dev", {"devices"}),
    ],
)
def test_the_shell_completes_names(words: str, current: str, expected: set[str]) -> None:
    assert expected <= completions(words, current)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "_COINFER_COMPLETE" in out(capsys, f"completion {shell}")


def test_a_closed_pipe_is_no_crash() -> None:
    command = f"{sys.executable} -c 'from coinfer.cli import main; main()' list devices | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
