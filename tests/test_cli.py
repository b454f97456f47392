"""The command line as a user meets it: help, answers, JSON, errors, exit codes, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

from benchmarks.measured import measurements
from coinfer.cli import RoomGroup, cli, run
from coinfer.plugins import COMMAND_GROUP

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
        ["list", "matrices"],
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
    assert answer["work_unit"] == "FLOPs"
    # Sent is the feature; both sizes of the input are told all the same (CIFAR-10, resized).
    assert answer["sent"] == "feature"
    assert answer["source"] == {
        "shape": [3, 32, 32],
        "bits_per_element": 8,
        "raw_bits": 3 * 32 * 32 * 8,
        "png_bits": pytest.approx(18084.7488),
        "assumption": "",
    }
    assert answer["network_input"] == {
        "shape": [3, 224, 224],
        "float32_bits": 3 * 224 * 224 * 32,
    }
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
    assert "1,492,992 bits: a feature as float32  [analytic]" in text
    assert "source 3x32x32, 24,576 bits raw, 18,085 as PNG; network input 3x224x224" in text


@pytest.mark.parametrize(("convention", "unit"), [("qho2024", "FLOPs"), ("cpcdrl2024", "MACs")])
def test_work_is_told_in_the_unit_of_the_convention(
    convention: str, unit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = QUESTION.replace("qho2024", convention).replace("neurosurgeon", "all_local")
    answer = json.loads(out(capsys, command + " --json"))
    assert answer["work_unit"] == unit
    assert f"device {answer['device_flops']:,}, server 0 {unit}\n" in out(capsys, command)


@pytest.mark.parametrize(
    ("change", "sent", "uplink", "assumed"),
    [
        (
            "",
            "source",
            "24,576 bits: the source as raw8",
            "the 3x32x32 source is charged; the server",
        ),
        (
            "--convention qho2024",
            "input",
            "4,816,896 bits: the network's input as float32",
            "the network's 3x224x224 input is charged, not the 3x32x32 source (24,576 bits raw)",
        ),
        (
            "--model torchvision:resnet18",
            "source",
            "1,204,224 bits: the source as raw8",
            "what feeds this network is not known; its source is taken to be the network's own",
        ),
    ],
)
def test_which_input_is_charged_is_said(
    change: str, sent: str, uplink: str, assumed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"{NUMBERS} --rate-bps 1e6 {change}"
    answer = json.loads(out(capsys, command + " --json"))
    assert answer["sent"] == sent
    assert [text[: len(assumed)] for text in answer["assumptions"]] == [assumed]
    text = out(capsys, command)
    assert f"  uplink   {uplink}  [analytic]\n" in text
    assert f"  assumed  {assumed}" in text


ANALOG = """
from dataclasses import dataclass
from typing import ClassVar
from coinfer.method import Method, MethodCard
from coinfer.plan import CutRef, Plan, Selection

@dataclass(frozen=True)
class Analog(Method):
    card: ClassVar[MethodCard] = MethodCard(
        name="analog", title="Analog", idea="A test.", reference="a test", payload="analog")

    def select(self, library, scenario, context):
        cut = context.cuts[3]
        return Selection(
            Plan(context.task.model, CutRef(cut.index, cut.after), channel="awgn[symbols=real]"))
"""


def test_symbols_are_told_with_the_bandwidth_that_they_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "analog.py"
    file.write_text(ANALOG)
    given = NUMBERS.replace("all_server", "analog") + f" --method-file {file}"
    command = f"{given} --bandwidth-hz 5e5 --snr-db 10"
    answer = json.loads(out(capsys, command + " --json"))
    assert answer["plan"]["cut"]["after"] == "features.2"
    symbols = 64 * 27 * 27
    assert (answer["uplink_bits"], answer["uplink_symbols"]) == (None, symbols)
    assert (answer["bandwidth_hz"], answer["latency"]["uplink_s"]) == (5e5, symbols / 5e5)
    assert (answer["source_bits"], answer["input_bits"]) == (24576, 3 * 224 * 224 * 32)
    assert answer["evidence"]["uplink_symbols"] == "analytic"
    assert (
        "  uplink   46,656 symbols at 500,000 a second: a feature through awgn[symbols=real]  "
        "[analytic]\n"
    ) in out(capsys, command)
    refused = out(capsys, f"{given} --rate-bps 1e6")
    assert "  skipped: channel 'awgn[symbols=real]' is analog: symbols take symbols / " in refused


def test_numbers_of_ones_own_read_as_they_were_given(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, NUMBERS + " --rate-bps 1250000 --round-trip-s 0.05")
    hardware = "custom[flops_per_s=1e9] + custom[flops_per_s=1e13]"
    where = "rate[rate_bps=1.25e6,round_trip_s=0.05]"
    assert text.startswith(f"all_server: alexnet on {hardware} over {where} (harmonised)\n")
    exact = out(capsys, NUMBERS.replace("1e9", "123456789.25") + " --rate-bps inf")
    assert "custom[flops_per_s=123456789.25]" in exact
    assert "over rate[rate_bps=inf] " in exact


def test_an_infinitely_fast_device_takes_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(
        capsys, NUMBERS.replace("1e9", "inf").replace("server ", "local ", 1) + " --rate-bps 1"
    )
    assert "  latency  0 s  [analytic]\n" in text


@pytest.mark.parametrize(
    ("option", "note"),
    [
        ("--snr-db 10", "link '3g' has its rate; --snr-db changes nothing"),
        ("--seed 3", "method 'neurosurgeon' draws nothing; --seed changes nothing"),
    ],
)
def test_an_option_without_effect_is_said_on_stderr(
    option: str, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = out(capsys, QUESTION)
    assert run(f"{QUESTION} {option}".split()) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (plain, f"coinfer: note: {note}\n")


PRUNES = """
import os
from dataclasses import dataclass
from coinfer.method import Method, MethodCard
from coinfer.plan import CutRef, Plan, Selection
print("printed at import")
@dataclass(frozen=True)
class Halves(Method):
    card = MethodCard(name="halves", title="H", idea="i", reference="r", prunes="whole")
    predicts: bool = False
    def select(self, library, scenario, context):
        print("printed by Python")
        os.system("echo printed by a child")
        os.write(1, b"printed to the descriptor\\n")
        space, cut = context.task.prune_space, context.cuts[1]
        keep = space.keep_pairs(space.kept_from_sparsity(0.5)) if space else ()
        return Selection(Plan(context.task.model, CutRef(cut.index, cut.after), keep=keep),
                         predicted_accuracy=0.75 if self.predicts else None, evaluations=1)
"""


@pytest.fixture
def prunes(tmp_path: Path) -> str:
    path = tmp_path / "prunes.py"
    path.write_text(PRUNES)
    return QUESTION.replace("alexnet", "alexnet-cifar").replace("neurosurgeon", "halves") + (
        f" --method-file {path}"
    )


def test_a_pruned_plan_never_shows_its_parents_accuracy(
    prunes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "  accuracy not measured: the plan changes the network or what crosses"
    assert told + "\n" in out(capsys, prunes)
    text = out(capsys, prunes.replace("halves", "halves[predicts=true]", 1))
    assert told + "; the method predicts 75.00 %\n" in text
    answer = json.loads(out(capsys, prunes + " --json"))
    assert (answer["accuracy"], answer["accuracy_loss"]) == (None, None)
    assert not {"accuracy", "accuracy_loss"} & set(answer["evidence"])


def test_an_unpruned_network_without_a_published_accuracy_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = out(capsys, QUESTION.replace("alexnet", "mobilenet_v2"))
    assert "  accuracy that of the unpruned network, which is not known here\n" in text


def test_an_unpruned_network_that_was_measured_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    known = measurements("alexnet-cifar")
    assert known is not None
    text = out(capsys, QUESTION.replace("alexnet", "alexnet-cifar"))
    assert f"  accuracy {100 * known.baseline.val_accuracy:.2f} %  [measured]\n" in text


def test_nothing_but_the_answer_lands_on_stdout(prunes: str) -> None:
    path = Path(prunes.split()[-1])
    path.write_text(PRUNES.replace('prunes="whole"', ""))  # else it needs torch, which takes long
    code = "from coinfer.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *prunes.split(), "--json"], capture_output=True, text=True
    )
    assert json.loads(done.stdout)["status"] == "ok"
    printed = {line for line in done.stderr.splitlines() if line.startswith("printed")}
    assert printed == {
        "printed at import",
        "printed by Python",
        "printed by a child",
        "printed to the descriptor",
    }


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
        (NUMBERS + " --bandwidth-hz 1e6", "needs an SNR; give --snr-db"),
        (NUMBERS + " --bandwidth-hz 1e6 --snr-db inf", "snr_db is inf; allowed is a finite number"),
        (QUESTION + " --snr-db nan", "snr_db is nan; allowed is a finite number of dB"),
        (QUESTION + " --snr-db inf", "snr_db is inf; allowed is a finite number of dB"),
        (QUESTION + " --seed -1", "'--seed': -1 is not in the range"),
        (QUESTION + " --device-watts inf", "compute_watts is inf; allowed is a finite number >= 0"),
        (QUESTION + " --radio-watts nan", "transmit_watts is nan; allowed is a finite number >= 0"),
        (
            "plan --model alexnet --method all_local --link 3g",
            "no device: give --device or --device",
        ),
        (
            "plan --model alexnet --method all_local --link 3g --device jetson-tk1",
            "no server: give --server or --server-flops",
        ),
        (QUESTION.replace("raspberry-pi-3b+", "custom"), "give one as 'custom[flops_per_s=...]'"),
        (NUMBERS + " --bandwidth-hz 1e6 --rate-bps 1e6", "exclude each other"),
        (NUMBERS + " --rate-bps 1e6 --max-accuracy-loss 2", "max_accuracy_loss is 2.0; allowed"),
        (NUMBERS.replace("1e9", "0") + " --rate-bps 1e6", "flops_per_s is 0.0; allowed"),
        (NUMBERS + " --rate-bps fast", "not a valid float"),
        ("plann", "unknown command 'plann'; did you mean 'plan'"),
        ("list model", "unknown command 'model'; did you mean 'models'"),
        ("trace nowhere.py:net --rules table2", "unknown FLOPs rule 'table2'; did you mean"),
        ("trace", "no model: give a name"),
        ("trace torchvision:alexnet[input=3x9x9]", "accepted: image_size, num_classes"),
        ("list devices --presets nowhere.toml", "cannot read presets 'nowhere.toml'"),
        ("plan --modell alexnet", "--model"),
        (NUMBERS.replace("alexnet", "nowhere.py:net") + " --rate-bps 1", "nowhere.py"),
    ],
)
def test_bad_input_gets_one_line_and_exit_2(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in complaint(capsys, command)


@pytest.mark.parametrize("command", [[], ["list"], ["data"]])
def test_a_group_without_a_command_prints_its_help(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    helped = out(capsys, " ".join([*command, "--help"]))
    assert run(command) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", helped)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_package_of_ours:x", "ModuleNotFoundError: No module named"),
        ("json:dumps", "TypeError: a function is no click command"),
    ],
)
def test_a_command_that_does_not_load_says_why_and_harms_no_other(
    target: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(cli, RoomGroup)
    points = {**cli.points, "theirs": EntryPoint("theirs", target, COMMAND_GROUP)}
    monkeypatch.setitem(cli.__dict__, "points", points)
    text = " ".join(out(capsys, "--help").split())
    assert " theirs (does not load: " in text
    assert " plan Ask one method" in text
    error = complaint(capsys, "theirs --model alexnet more")
    assert f"command 'theirs' ({target}) does not load: {reason}" in error
    assert reason in " ".join(out(capsys, "theirs --help").split())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alex\x1b[31mnet", r"alex\x1b[31mnet"),
        ("alex\u202enet", r"alex\u202enet"),
        ("alex\u2066n\u200bet", r"alex\u2066n\u200bet"),
        ("alex\udcffnet", r"alex\udcffnet"),  # a byte that is no UTF-8
        ("アレックス", "アレックス"),
    ],
)
@pytest.mark.parametrize("command", [["trace"], []])
def test_what_is_not_printable_is_printed_as_its_escape(
    command: list[str], name: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, name]) == 2
    error = capsys.readouterr().err
    assert shown in error
    assert error.rstrip("\n").isprintable()


@pytest.mark.parametrize("option", ["--methods", "--models"])
@pytest.mark.parametrize("names", ["", ",", " , "])
def test_a_list_that_names_nothing_is_refused(
    option: str, names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "never.sqlite"
    assert run(["run", "demo", "--store", str(store), option, names]) == 2
    assert f"'{option}': it names nothing" in capsys.readouterr().err
    assert not store.exists()


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


PRESETS = """
[devices.mine]
flops_per_s = 5e9
[servers.mine]
flops_per_s = 5e12
[links.mine]
rate_bps = inf
"""


@pytest.mark.parametrize("kind", ["devices", "servers", "links"])
def test_lists_hold_the_presets_of_the_users_files(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built_in = out(capsys, f"list {kind}").splitlines()
    path, other = tmp_path / "mine.toml", tmp_path / "other.toml"
    path.write_text(PRESETS)
    other.write_text(PRESETS.replace("mine", "other"))
    listed = out(capsys, f"list {kind} --presets {path} --presets {other}").splitlines()
    assert [line.split() for line in listed[:-2]] == [line.split() for line in built_in]
    assert [line.split()[0] for line in listed[-2:]] == ["mine", "other"]
    assert "given by the user in mine.toml" in listed[-2]

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    text = out(capsys, f"list {kind} --json --presets {path}")
    (number,) = json.loads(text, parse_constant=refuse)["mine"]["values"].values()
    assert number in (5e9, 5e12, "inf")


def test_a_preset_whose_name_is_not_printable_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PRESETS.replace("devices.mine", r'devices."mi\u202ene"'))
    assert r"device 'mi\u202ene': a name is" in complaint(capsys, f"list links --presets {path}")


def test_models_are_listed_with_every_way_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    text, helped = out(capsys, "list models"), out(capsys, "list models --help")
    assert "alexnet-cifar " in text
    for option in ("image_size (224)", "num_classes (1000)", "input (such as 3x64x64)"):
        assert option in text
    for word in ("[image_size=64,num_classes=10]", "[input=3x64x64,", "`input_shape`"):
        assert word in helped


def test_a_trace_is_a_table_of_layers_and_cuts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "from torch import nn\n"
        "print('printed by the file')\n"
        "def tiny(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())\n"
    )
    lines = out(capsys, f"trace {path}:tiny[input=3x8x8]").splitlines()
    assert [line.split() for line in lines] == [
        ["layer", "kind", "output", "parameters", "table1", "cut"],
        ["0", "input", "3x8x8", "*", "192", "elements"],
        ["1", "0", "conv", "4x6x6", "112", f"{2 * 36 * 28 * 4:,}", "*", "144", "elements"],
        ["2", "1", "activation", "4x6x6", "0", "144", "*", "144", "elements"],
        ["3", "2", "reshape", "144", "0", "0", "*", "144", "elements"],
        f"3 layers, 4 legal cuts, 112 parameters, {2 * 36 * 28 * 4 + 144:,} by table1".split(),
    ]
    assert json.loads(out(capsys, f"trace {path}:tiny[input=3x8x8] --json"))["cuts"][0] == {
        "index": 0,
        "after": "input",
        "shape": [3, 8, 8],
        "kind": "input",
    }


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


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from coinfer.cli import main; main()"
    listing = f"(sleep 0.2; exec {sys.executable} -c '{code}' list models)"
    done = subprocess.run(
        ["bash", "-c", f"{listing} | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("141\n", "")
