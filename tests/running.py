"""What the tests of matrix runs share: a method that misbehaves on demand, and small matrices.

The method writes a line per evaluation beside its own file, so that a test sees what was really
computed, by which process, and when.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.catalog import Catalog
from benchmarks.engines import Done
from benchmarks.matrix import Matrix
from benchmarks.rows import Row
from benchmarks.runner import Summary, run
from benchmarks.store import Store

METHOD = '''
from __future__ import annotations

import ctypes
import itertools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from coinfer.method import Library, Method, MethodCard
from coinfer.plan import CutRef, Plan, Selection, Skip

HERE = Path(__file__).parent


def once(name):
    """Whether this is the first call with that name, over all processes."""
    try:
        (HERE / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@dataclass(frozen=True)
class Odd(Method):
    """Everything on the device; at one uplink rate it does `what`, and in its build `in_build`."""

    card: ClassVar[MethodCard] = MethodCard(
        name="odd", title="Odd", idea="Misbehave.", reference="none", cuts=frozenset({"output"})
    )

    what: str = "nothing"
    at_bps: float = 0.0
    sleep_s: float = 0.0
    in_build: str = "nothing"

    def supports(self, task, scenario=None):
        if scenario is not None and self.what == "skip" and scenario.rate_bps == self.at_bps:
            return Skip("it is too odd")
        return None

    def build(self, task, context):
        with (HERE / "built").open("a") as log:
            log.write(f"{os.getpid()}\\n")
        self.misbehave(self.in_build)
        return Library({"labels": [1, 2, 3]})

    def select(self, library, scenario, context):
        with (HERE / "log").open("a") as log:
            log.write(f"{os.getpid()} {scenario.rate_bps!r} {self.card.name} {time.time()!r}\\n")
        time.sleep(self.sleep_s)
        if scenario.rate_bps == self.at_bps:
            self.misbehave(self.what)
        cut = context.cuts[-1]
        return Selection(Plan(context.task.model, CutRef(cut.index, cut.after)), evaluations=1)

    def misbehave(self, what):
        if what == "raise":
            raise ArithmeticError("it is too odd")
        if what == "raise until fixed" and not (HERE / "fixed").exists():
            raise ArithmeticError("it is not fixed")
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "kill" or (what == "kill once" and once("killed")):
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "exit":
            os._exit(3)
        if what == "crash":
            ctypes.string_at(0)
        if what == "print":
            print("printed by Python")
            os.system("echo printed by a child")
        if what == "wait":  # until a cell is evaluated
            while not (HERE / "log").exists():
                time.sleep(0.01)
        if what == "sleep":
            time.sleep(1000)
        if what == "nap":
            time.sleep(2)
        if what == "spin":
            while True:
                try:
                    sum(range(1000))
                except Exception:
                    pass
        if what == "swallow":
            while True:
                try:
                    sum(range(1000))
                except BaseException:
                    pass
        if what == "stuck":  # native code that looks at no signal and never lets go
            sum(itertools.repeat(0, 10**15))


@dataclass(frozen=True)
class OddTrained(Odd):
    """The same, with a library as those of trained methods are."""

    card: ClassVar[MethodCard] = MethodCard(
        name="odd_trained", title="Odd", idea="Misbehave.", reference="none",
        cuts=frozenset({"output"}), accuracy_signal="measured", phases=("label",),
    )

    def build(self, task, context):
        context.ledger.spend("label", evaluations=3)
        return super().build(task, context)
'''


@dataclass(frozen=True)
class Bench:
    """A folder with the odd method, its log and stores."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list, compare=False)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Bench]:
        """Write the method's file into a folder; end what was started and is still running."""
        # A process imports the same text once; the comment makes it another file, not other code.
        text = f"# {folder}\n{METHOD}"
        (folder / "odd_method.py").write_text(text, encoding="utf-8")
        bench = cls(folder)
        yield bench
        for process in bench.started:
            for pid in in_session(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if process.stderr is not None and not process.stderr.closed:
                process.communicate()

    @property
    def catalog(self) -> Catalog:
        """The catalog that knows the odd method."""
        return Catalog((str(self.folder / "odd_method.py"),))

    def matrix(self, cells: int, *methods: str, **axes: Any) -> Matrix:
        """A matrix of `cells` uplink rates (1, 2, 3... Mbit/s) per method."""
        blank = Matrix(
            name="odd",
            models=("alexnet",),
            devices=("raspberry-pi-4b",),
            servers=("tesla-p100",),
            links=tuple(f"rate[rate_bps={mbps}e6]" for mbps in range(1, cells + 1)),
            methods=methods or ("odd",),
        )
        return replace(blank, **axes)

    def file(self, cells: int, *methods: str) -> Path:
        """The same matrix as a file."""
        quoted = ", ".join(f"'{method}'" for method in methods or ("odd",))
        path = self.folder / "odd.toml"
        path.write_text(
            "models = 'alexnet'\ndevices = 'raspberry-pi-4b'\nservers = 'tesla-p100'\n"
            f"rate_sweep = {{ start_bps = 1e6, stop_bps = {cells}e6, points = {cells}, "
            f"scale = 'linear' }}\nmethods = [{quoted}]\n",
            encoding="utf-8",
        )
        return path

    def store(self, name: str = "store") -> Path:
        """The path of a store."""
        return self.folder / f"{name}.sqlite"

    def run(self, matrix: Matrix, store: str = "store", **options: Any) -> Summary:
        """Run a matrix into a store of this folder."""
        return run(matrix, self.store(store), catalog=self.catalog, **options)

    def rows(self, store: str = "store") -> list[Row]:
        """All rows of a store, in canonical order."""
        with Store.open(self.store(store), readonly=True) as opened:
            return list(opened.rows())

    def log(self) -> list[tuple[int, float, str, float]]:
        """(process, rate in bit/s, method, time) of every evaluation so far."""
        path = self.folder / "log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = [line.split() for line in lines]
        return [(int(pid), float(rate), name, float(when)) for pid, rate, name, when in found]

    def built(self) -> list[int]:
        """The process of every build so far."""
        path = self.folder / "built"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def asked(self) -> Counter[float]:
        """How often each rate was evaluated so far."""
        return Counter(rate for _, rate, _, _ in self.log())

    def command(self, matrix: Path, store: str = "store", *options: str) -> list[str]:
        """The command line of `coinfer run`."""
        return [
            *(sys.executable, "-c", "from coinfer.cli import main; main()"),
            *("run", str(matrix), "--store", str(self.store(store))),
            *("--method-file", str(self.folder / "odd_method.py"), *options),
        ]

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in a session of its own, its stderr caught."""
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            preexec_fn=_as_from_a_terminal,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], timeout_s: float = 90.0) -> tuple[int, str]:
        """Wait for a command; return its exit code and stderr."""
        _, errors = process.communicate(timeout=timeout_s)
        return process.returncode, errors


class InProcess:
    """An engine that runs jobs in this process, when they are waited for."""

    own_process = False

    def __init__(self) -> None:
        self._jobs: list[tuple[int, Callable[..., Any], tuple[Any, ...]]] = []

    def slots(self) -> int:
        return 1

    def share(self, value: Any) -> Any:
        return value

    def submit(self, job: int, function: Callable[..., Any], *arguments: Any) -> None:
        self._jobs.append((job, function, arguments))

    def wait(self, timeout_s: float) -> Iterable[Done]:
        job, function, arguments = self._jobs.pop(0)
        try:
            return [Done(job, function(*arguments))]
        except Exception as error:
            return [Done(job, error=error)]

    def close(self) -> None:
        self._jobs.clear()


def _as_from_a_terminal() -> None:
    """Let Ctrl-C reach a command, also where a shell runs the tests in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[str], timeout_s: float = 60.0
) -> None:
    """Wait until a condition holds; fail when the process ends first or time runs out."""
    limit = time.monotonic() + timeout_s
    while not condition():
        if process.poll() is not None:
            _, errors = process.communicate()
            raise AssertionError(f"ended with {process.returncode} too early: {errors}")
        if time.monotonic() > limit:
            raise AssertionError("waited too long")
        time.sleep(0.02)


def by_status(rows: Iterable[Row]) -> dict[str, int]:
    """The number of rows per status."""
    return dict(Counter(row.result.status for row in rows))


def in_session(session: int) -> list[int]:
    """The processes of a session that are alive (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        state, _, _, own_session = fields[:4]
        if int(own_session) == session and state != "Z":
            found.append(int(entry.name))
    return found
