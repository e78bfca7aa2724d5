"""What is wrong with a study's classes is said in one sentence, with the entry to blame, and nothing raises."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from search.messages import Inspect, InspectionResult, ModelAssembly
from search.worker.inspection import inspect_assembly
from search.worker.scratch_directory import scratch_directory

pytestmark = []


class Net(pl.LightningModule):
    def __init__(self, learning_rate: float, head: dict[str, int] | None = None) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.layer = nn.Linear(3, (head or {}).get("width", 2))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("fit_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self.layer(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class TakesAnything(Net):
    def __init__(self, **options: Any) -> None:
        super().__init__(0.1)
        self.options = options


class RaisesInInit(Net):
    def __init__(self) -> None:
        raise ValueError("no such width")


class RaisesInStep(TakesAnything):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        raise IndexError("beyond the end")


class Exits(TakesAnything):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        sys.exit(2)


class NoValidation(pl.LightningModule):
    def training_step(self, batch: Any, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> None: ...


class Writes(TakesAnything):
    def configure_callbacks(self) -> Any:
        return [pl.callbacks.ModelCheckpoint(save_last=True)]


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 8) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        data = TensorDataset(torch.randn(32, 3), torch.randint(2, (32,)))
        return DataLoader(data, self.batch_size)

    def val_dataloader(self) -> Any:
        return self.train_dataloader()


class DataRaises(Data):
    def setup(self, stage: str) -> None:
        raise FileNotFoundError("images.zip")


class DataRaisesInInit(Data):
    def __init__(self) -> None:
        raise OSError("no disk")


class DataWithoutValidation(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return Data().train_dataloader()


def inspect(
    model: str = "Net",
    data: str | None = "Data",
    searched: tuple[str, ...] = ("model.learning_rate",),
    **changes: Any,
) -> InspectionResult:
    fields: dict[str, Any] = {
        "model_class": f"{__name__}.{model}" if "." not in model else model,
        "model_args": {"learning_rate": 0.1} if model == "Net" else {},
        "data_class": data if data is None or "." in data else f"{__name__}.{data}",
        "data_args": {},
        "trainer_args": {},
        "monitor": "val_acc",
        "maximize": True,
        "data_seed": 0,
        **changes,
    }
    return inspect_assembly(Inspect(assembly=ModelAssembly(**fields), searched=searched))


def test_sound_study_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = inspect(trainer_args={"limit_val_batches": 0.5, "gradient_clip_val": 1.0})
    assert (result.error, result.error_key, result.traceback) == ("", "", "")
    assert set(result.metrics) == {"val_loss", "val_acc"}
    assert result.n_parameters == 8
    always = {"val_loss", "val_acc", "gap_loss", "gap_acc", "train_loss", "epoch_seconds", "learning_rate"}
    assert always <= set(result.measured)
    assert "n_parameters" not in result.measured
    assert "augmentation" in result.notices[0]
    assert list(tmp_path.iterdir()) == []


def test_a_system_that_does_not_tell_usable_cores_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity")  # as on macOS
    assert inspect().n_cores == os.cpu_count()


def test_nothing_is_written_even_by_the_users_own_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert inspect("Writes").error == ""
    assert list(tmp_path.rglob("*")) == []


def test_classes_with_keyword_arguments_and_nested_names_are_taken(tmp_path: Path) -> None:
    assert (
        inspect("TakesAnything", model_args={"anything": 1}, searched=("model.anything", "model.deep.er")).error == ""
    )
    result = inspect(searched=("model.head.width",), model_args={"learning_rate": 0.1, "head": {"width": 5}})
    assert (result.error, result.n_parameters) == ("", 20)


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"model": "nowhere.Net"}, "model.class_path", ["no module 'nowhere'"]),
        ({"model": "search.nowhere.Net"}, "model.class_path", ["no module 'search.nowhere'"]),
        ({"model_class": "Net"}, "model.class_path", ["package.module.Class"]),
        ({"model": "Nett"}, "model.class_path", ["no class 'Nett'", "Did you mean 'Net'?"]),
        ({"model": "Data"}, "model.class_path", ["subclass of LightningModule", "class Data"]),
        ({"model": "pathlib.os"}, "model.class_path", ["a module"]),
        ({"data": "Net"}, "data.class_path", ["subclass of LightningDataModule"]),
        ({"data": "Dta"}, "data.class_path", ["Did you mean 'Data'?"]),
        ({"model_args": {"learning_rate": 1, "wdth": 2}}, "model.init_args.wdth", ["no argument 'wdth'"]),
        ({"searched": ("model.learningrate",)}, "space.model.learningrate", ["Did you mean 'learning_rate'?"]),
        ({"searched": ("model.hed.width",)}, "space.model.hed.width", ["Did you mean 'head'?"]),
        ({"searched": ("data.batchsize",)}, "space.data.batchsize", ["Did you mean 'batch_size'?"]),
        ({"model_args": {}, "searched": ()}, "model.init_args", ["needs the argument 'learning_rate'"]),
        ({"model_args": {}}, "space.model.learning_rate", ["under a condition only"]),
        ({"data_args": {"size": 1}}, "data.init_args.size", ["no argument 'size'"]),
        ({"trainer_args": {"precison": 16}}, "trainer.precison", ["Did you mean 'precision'?"]),
        ({"trainer_args": {"max_epochs": 16}}, "trainer.max_epochs", ["zeroin sets this argument itself"]),
        ({"trainer_args": {"precision": "13-mixed"}}, "trainer.precision", ["`precision: '13-mixed'`"]),
        ({"trainer_args": {"limit_val_batches": 0}}, "trainer.limit_val_batches", ["got 0,", ">= 1", "validate on"]),
        ({"trainer_args": {"limit_train_batches": 0.0}}, "trainer.limit_train_batches", ["got 0.0,", "train on"]),
        ({"trainer_args": {"limit_train_batches": "abc"}}, "trainer.limit_train_batches", ["'abc'", ">= 1"]),
        ({"trainer_args": {"limit_val_batches": -1}}, "trainer.limit_val_batches", ["`limit_val_batches: -1`", ">= 1"]),
        ({"trainer_args": {"limit_val_batches": 1.5, "precision": 32}}, "trainer.limit_val_batches", ["1.5"]),
        ({"trainer_args": {"val_check_interval": -1}}, "trainer.val_check_interval", ["-1"]),
        ({"trainer_args": {"profiler": "stopwatch"}}, "trainer.profiler", ["'stopwatch'"]),
        ({"trainer_args": {"fast_dev_run": True}}, "trainer.fast_dev_run", ["zeroin sets this argument itself"]),
        ({"trainer_args": {"limit_train_batches": 0.1}}, "trainer.limit_train_batches", ["of 4 batches", "0.25"]),
        ({"trainer_args": {"limit_val_batches": 0.2}}, "trainer.limit_val_batches", ["of 4 batches"]),
        ({"trainer_args": {"overfit_batches": 0.1}}, "trainer.overfit_batches", ["of 4 batches"]),
        ({"model": "RaisesInInit"}, "model.init_args", ["ValueError: no such width"]),
        ({"data": "DataRaisesInInit"}, "data.init_args", ["OSError: no disk"]),
        ({"data": "DataRaises"}, "data.class_path", ["FileNotFoundError: images.zip"]),
        ({"model": "RaisesInStep"}, "model.class_path", ["IndexError: beyond the end"]),
        ({"model": "Exits"}, "model.class_path", ["SystemExit: 2"]),
        ({"model": "NoValidation"}, "model.class_path", ["must define `validation_step`"]),
        ({"data": "DataWithoutValidation"}, "data.class_path", ["must define `val_dataloader`"]),
        ({"data": None}, "data", ["no data module", "train_dataloader"]),
        ({"monitor": "val_ac"}, "objective.monitor", ["val_loss, val_acc", "Did you mean 'val_acc'?"]),
        ({"monitor": "fit_loss"}, "objective.monitor", ["logged in training only"]),
    ],
)
def test_what_is_wrong_is_said_with_its_key(changes: dict[str, Any], key: str, words: list[str]) -> None:
    if "searched" not in changes and changes.get("model", "Net") != "Net":
        changes = {"searched": (), **changes}
    result = inspect(**changes)
    assert result.error_key == key, result.error
    assert all(word in result.error for word in words), result.error
    assert not result.error.startswith(key)


@pytest.mark.parametrize("model", ["RaisesInInit", "RaisesInStep", "Exits"])
def test_traceback_of_user_code_is_kept(model: str) -> None:
    assert "Traceback" in inspect(model, searched=()).traceback


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(7)", "SystemExit: 7"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_module_that_cannot_be_imported_is_told_apart_from_a_missing_one(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    result = inspect(f"{name}.Net", searched=())
    assert words in result.error
    assert result.error_key == "model.class_path"
    assert result.traceback


def test_module_may_bring_its_own_loaders() -> None:
    class Own(TakesAnything):
        def train_dataloader(self) -> Any:
            return Data().train_dataloader()

        def val_dataloader(self) -> Any:
            return Data().train_dataloader()

    globals()["Own"] = Own
    assert inspect("Own", None, searched=()).error == ""


@pytest.mark.parametrize(
    "trainer_args",
    [
        {"limit_train_batches": 0.25, "limit_val_batches": 1},
        {"limit_val_batches": None},
        {"overfit_batches": 2, "limit_val_batches": 0},
        {"overfit_batches": 0},
    ],
)
def test_lengths_with_which_a_trial_trains_and_validates_are_taken(trainer_args: dict[str, Any]) -> None:
    assert inspect(trainer_args=trainer_args).error == ""


class DataWithTest(Data):
    def test_dataloader(self) -> Any:
        return self.train_dataloader()


class TestedNet(TakesAnything):
    __test__ = False

    def test_dataloader(self) -> Any:
        return Data().train_dataloader()


class NetWithValidationData(TakesAnything):
    def val_dataloader(self) -> Any:
        return Data().train_dataloader()


@pytest.mark.parametrize(
    ("model", "data", "expected"),
    [
        ("TakesAnything", "Data", False),
        ("TakesAnything", "DataWithTest", True),
        ("TestedNet", "Data", True),
        ("TestedNet", "DataWithTest", True),
    ],
)
def test_test_data_are_found_in_either_owner(model: str, data: str, expected: bool) -> None:
    result = inspect(model, data, searched=())
    assert (result.error, result.has_test_data) == ("", expected)


def test_loaders_may_be_split_between_data_module_and_model() -> None:
    result = inspect("NetWithValidationData", "DataWithoutValidation", searched=())
    assert (result.error, set(result.metrics)) == ("", {"val_loss", "val_acc"})


def scratch_directories() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("zeroin-*"))


def test_what_a_killed_dry_run_left_is_removed_by_the_next_but_not_what_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, signal\n"
        "from search.worker.scratch_directory import scratch_directory\n"
        "with scratch_directory() as directory:\n"
        "    (directory / 'some' / 'where').mkdir(parents=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-P", "-c", code], env=environment, check=False)
    (abandoned,) = scratch_directories()
    with scratch_directory() as in_use:
        assert not abandoned.exists()
        with scratch_directory() as other:
            assert in_use.is_dir()
            assert set(scratch_directories()) == {in_use, other}
        assert inspect("Writes").error == ""
        assert scratch_directories() == [in_use]
    assert list(tmp_path.iterdir()) == []


def test_parameters_are_measured_where_a_study_asks_for_it() -> None:
    assert "n_parameters" in inspect(counts_parameters=True).measured
