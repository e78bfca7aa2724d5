"""Real worker processes over a real socket: what they import, how they die, and that nothing is lost by it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from search.messages import (
    Action,
    Decision,
    EpochReport,
    Farewell,
    Heartbeat,
    Inspect,
    InspectionResult,
    Message,
    ModelAssembly,
    Shutdown,
    TrialAssignment,
    TrialEnded,
    WorkerReady,
    decode,
    encode,
)
from search.worker.output_file import output_to

if TYPE_CHECKING:
    from forked_workers import WorkerTemplate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


class Net(pl.LightningModule):
    """Each init argument is a way to misbehave.

    Args:
        hang_file: Training writes this file in its second epoch and then hangs in it, unless it is there already.
        flood: Prints to both streams, from Python and from a child process.
        modules_file: Training writes the names of all modules that are imported.
        error: ``exit``, ``os_exit``, ``segfault``, ``deadlock`` or ``lasting_thread``.
    """

    def __init__(
        self,
        hang_file: str = "",
        flood: bool = False,
        error: str = "",
        native_hang: bool = False,
        modules_file: str = "",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        options: Any = self.hparams
        if options.flood:
            print("flood " * 2000)  # noqa: T201
            print("flood " * 2000, file=sys.stderr)  # noqa: T201
            subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        if options.modules_file:
            Path(options.modules_file).write_text("\n".join(sys.modules))
        if options.error == "exit":
            sys.exit(5)
        if options.error == "os_exit":
            os._exit(7)
        if options.error == "lasting_thread":
            threading.Thread(target=time.sleep, args=(600.0,), daemon=False).start()
        if options.error == "deadlock":
            queue.SimpleQueue[int]().get()
        if options.error == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        hang = Path(options.hang_file) if options.hang_file else None
        if hang is not None and self.current_epoch == 1 and batch_idx == 2 and not hang.exists():
            hang.touch()
            if options.native_hang:
                while True:
                    torch.randn(1500, 1500) @ torch.randn(1500, 1500)
            time.sleep(600)
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self.net(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=9.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


class Noisy(Dataset[Any]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        x = torch.full((4,), index / 64.0) + 0.1 * torch.rand(4)
        return x, torch.tensor(index % 2)


class Data(pl.LightningDataModule):
    def __init__(self, num_workers: int = 0) -> None:
        super().__init__()
        self.num_workers = num_workers

    def train_dataloader(self) -> Any:
        return DataLoader(Noisy(), 8, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self) -> Any:
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), 32)


class Worker:
    """The coordinator's side of one worker process."""

    def __init__(self, output: IO[bytes], popen: Callable[..., Any]) -> None:
        self.line, theirs = socket.socketpair()
        self.process = popen(
            [sys.executable, "-P", "-m", "search.worker", "--fd", str(theirs.fileno()), "--import-path", str(ROOT)],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        self.lines = self.line.makefile("rb")
        self.n_heartbeats = 0

    def send(self, message: Message) -> None:
        self.line.sendall(encode(message))

    def receive(self) -> Message | None:
        """Next message that is no heartbeat, None at the end."""
        while line := self.lines.readline():
            message = decode(line)
            if not isinstance(message, Heartbeat):
                return message
            self.n_heartbeats += 1
        return None

    def run(self, assignment: TrialAssignment) -> tuple[list[EpochReport], Message | None]:
        """Let a trial run with CONTINUE for an answer, to its end or the worker's."""
        self.send(assignment)
        reports: list[EpochReport] = []
        while isinstance(message := self.receive(), EpochReport):
            reports.append(message)
            self.send(Decision(trial_key=message.trial_key, epoch=message.epoch, action=Action.CONTINUE))
        return reports, message

    def close(self) -> None:
        self.lines.close()
        self.line.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@contextlib.contextmanager
def started(output: Path, popen: Callable[..., Any] = subprocess.Popen) -> Iterator[Worker]:
    """A worker that is ready, whose own output goes to the end of a file."""
    with output.open("ab") as file:
        worker = Worker(file, popen)
        try:
            assert isinstance(worker.receive(), WorkerReady), output.read_text()
            yield worker
        finally:
            worker.close()


@pytest.fixture
def start(tmp_path: Path, worker_template: WorkerTemplate) -> Iterator[Any]:
    """Have another worker, forked."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(started(tmp_path / "worker-output", worker_template.popen))


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker for all tests that leave it ready for the next one's messages: started as engines do, for seconds."""
    output = tmp_path_factory.mktemp("lasting") / "worker-output"
    with started(output) as worker:
        yield worker
        worker.send(Shutdown())
        assert worker.receive() is None
        assert worker.process.wait(10) == 0
    assert output.read_bytes() == b""


def assignment(directory: Path, *, data_args: dict[str, Any] | None = None, **changes: Any) -> TrialAssignment:
    own = ("hang_file", "flood", "error", "native_hang", "modules_file")
    model_args = {name: changes.pop(name) for name in own if name in changes}
    directory.mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "trial_key": directory.name,
        "assembly": ModelAssembly(
            model_class="tests.test_worker_process.Net",
            model_args=model_args,
            data_class="tests.test_worker_process.Data",
            data_args=data_args or {},
            trainer_args={},
            monitor="val_acc",
            maximize=True,
            data_seed=0,
        ),
        "directory": str(directory),
        "seed": 3,
        "n_epochs": 3,
        "horizon_epochs": 3,
        "resume": False,
        "n_epochs_reported": 0,
        "merge_validation": False,
        **changes,
    }
    return TrialAssignment(**fields)


def comparable(reports: list[EpochReport]) -> list[dict[str, float]]:
    return [{k: v for k, v in report.metrics.items() if k != "epoch_seconds"} for report in reports]


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_worker_killed_in_an_epoch_and_resumed_equals_an_uninterrupted_one(
    start: Any, lasting: Worker, tmp_path: Path
) -> None:
    expected, ended = lasting.run(assignment(tmp_path / "whole"))
    assert isinstance(ended, TrialEnded)
    assert (ended.n_epochs, ended.error) == (3, "")
    hang = tmp_path / "hang"
    hanging = assignment(tmp_path / "parts", hang_file=str(hang))
    worker = start()
    worker.send(hanging)
    first = worker.receive()
    assert isinstance(first, EpochReport)
    worker.send(Decision(trial_key="parts", epoch=1, action=Action.CONTINUE))
    wait_for(hang.exists)
    os.kill(worker.process.pid, signal.SIGKILL)
    assert worker.receive() is None
    resumed = assignment(tmp_path / "parts", hang_file=str(hang), resume=True, n_epochs_reported=1)
    rest, ended = lasting.run(resumed)
    assert isinstance(ended, TrialEnded)
    assert comparable([first, *rest]) == comparable(expected)
    states = [torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"] for name in ("whole", "parts")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("native_hang", [False, True])
def test_worker_and_its_children_are_gone_within_seconds_of_the_coordinators_death(
    native_hang: bool, start: Any, tmp_path: Path
) -> None:
    worker = start()
    hang = tmp_path / "hang"
    worker.send(assignment(tmp_path / "t", hang_file=str(hang), native_hang=native_hang, data_args={"num_workers": 2}))
    assert isinstance(worker.receive(), EpochReport)
    worker.send(Decision(trial_key="t", epoch=1, action=Action.CONTINUE))
    wait_for(hang.exists)
    family = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children(recursive=True)]
    assert len(family) >= 3
    worker.lines.close()
    worker.line.close()
    died = time.monotonic()
    assert worker.process.wait(10) == -signal.SIGKILL
    wait_for(lambda: not any(each.is_running() and each.status() != "zombie" for each in family), seconds=3.0)
    assert time.monotonic() - died < 3.0


def test_worker_waiting_for_a_decision_or_an_order_dies_with_its_coordinator(start: Any, tmp_path: Path) -> None:
    for order in (None, assignment(tmp_path / "t")):
        worker = start()
        if order is not None:
            worker.send(order)
            assert isinstance(worker.receive(), EpochReport)
        worker.lines.close()
        worker.line.close()
        assert worker.process.wait(3) == -signal.SIGKILL


def test_worker_survives_user_code_and_keeps_its_output_to_itself(lasting: Worker, tmp_path: Path) -> None:
    _, ended = lasting.run(assignment(tmp_path / "exits", error="exit"))
    assert isinstance(ended, TrialEnded)
    assert ended.error == "SystemExit: 5"
    reports, ended = lasting.run(assignment(tmp_path / "floods", flood=True, n_epochs=1))
    assert len(reports) == 1
    assert isinstance(ended, TrialEnded)
    assert 0.5 < ended.resident_bytes / psutil.Process(lasting.process.pid).memory_info().rss < 2.0
    log = (tmp_path / "floods" / "output.log").read_text()
    assert log.count("flood") == 8 * 2 * 2000
    assert log.count("from a child") == 8
    assert "GPU available" not in log
    assert "Warning" not in log


@pytest.mark.parametrize(("error", "status"), [("os_exit", 7), ("segfault", -signal.SIGSEGV)])
def test_sudden_death_is_seen_as_the_end_of_the_line(error: str, status: int, start: Any, tmp_path: Path) -> None:
    worker = start()
    reports, end = worker.run(assignment(tmp_path / "t", error=error))
    assert (reports, end) == ([], None)
    assert worker.process.wait(5) == status
    if error == "segfault":
        assert "training_step" in (tmp_path / "t" / "output.log").read_text()


def test_worker_shows_life_while_it_trains_and_ignores_ctrl_c(start: Any, tmp_path: Path) -> None:
    worker = start()
    os.killpg(worker.process.pid, signal.SIGINT)
    time.sleep(2.5)
    worker.send(Shutdown())
    assert worker.receive() is None
    assert worker.n_heartbeats >= 2
    assert worker.process.wait(10) == 0


def test_inspection_goes_over_the_line(lasting: Worker, tmp_path: Path) -> None:
    lasting.send(Inspect(assembly=assignment(tmp_path / "t").assembly, searched=("model.nothing",)))
    result = lasting.receive()
    assert isinstance(result, InspectionResult)
    assert result.error_key == "space.model.nothing"


def test_a_segfault_in_a_dry_run_is_told_on_the_workers_own_output(start: Any, tmp_path: Path) -> None:
    worker = start()
    worker.send(Inspect(assembly=assignment(tmp_path / "t", error="segfault").assembly, searched=()))
    assert worker.receive() is None
    assert worker.process.wait(5) == -signal.SIGSEGV
    told = (tmp_path / "worker-output").read_text()
    assert "Segmentation fault" in told
    assert "training_step" in told


def test_garbage_on_the_line_ends_the_worker(start: Any) -> None:
    worker = start()
    worker.line.sendall(b"hello\n")
    assert worker.process.wait(5) == -signal.SIGKILL


def test_worker_imports_neither_optuna_nor_mlflow_nor_pydantic(lasting: Worker, tmp_path: Path) -> None:
    file = tmp_path / "modules"
    lasting.run(assignment(tmp_path / "t", modules_file=str(file), n_epochs=1))
    names = set(file.read_text().splitlines())
    assert {"torch", "search.worker.loop"} <= names
    assert not {name for name in names if name.partition(".")[0] in {"optuna", "mlflow", "pydantic"}}
    below = {"search.errors", "search.search_space", "search.trial", "search.messages", "search.package_version"}
    below |= {
        "search.checkpoint_store",
        "search.model_package",
        "search.near_names",
        "search.uris",
        "search.usable_cores",
        "search.constraint",
        "search.priors",
    }
    ours = {name for name in names if name.startswith("search.")}
    assert {name for name in ours if not name.startswith("search.worker")} <= below


def test_memory_is_flat_over_a_hundred_trials(lasting: Worker, tmp_path: Path) -> None:
    process = psutil.Process(lasting.process.pid)
    sizes = []
    for index in range(100):
        _, ended = lasting.run(assignment(tmp_path / f"t{index}", n_epochs=1))
        assert isinstance(ended, TrialEnded)
        sizes.append(process.memory_info().rss)
    early, late = (sorted(part)[len(part) // 2] for part in (sizes[20:30], sizes[90:100]))
    assert late < 1.05 * early


def test_output_goes_to_the_file_and_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with output_to(tmp_path / "log"):
        os.write(1, b"inside\n")
        os.write(2, b"error\n")
    os.write(1, b"outside\n")
    assert (tmp_path / "log").read_text() == "inside\nerror\n"
    assert capfd.readouterr().out == "outside\n"


def test_a_worker_with_a_thread_that_stays_hangs_up_when_it_is_to_end(start: Any, tmp_path: Path) -> None:
    worker = start()
    worker.run(assignment(tmp_path / "t", error="lasting_thread", n_epochs=1))
    worker.send(Shutdown())
    assert worker.receive() is None  # the engine kills what is left then
    assert worker.process.poll() is None


def test_an_inspection_that_hangs_shows_where(start: Any, tmp_path: Path) -> None:
    worker = start()
    stuck = assignment(tmp_path / "t", error="deadlock").assembly
    worker.send(Inspect(assembly=stuck, searched=(), hang_timeout_seconds=2.0))
    farewell = worker.receive()
    assert isinstance(farewell, Farewell)
    assert farewell.reason.startswith("hung, no batch was finished for 0.")
    assert worker.receive() is None
    assert worker.process.wait(5) == -signal.SIGKILL
    assert "in training_step" in (tmp_path / "worker-output").read_text()
