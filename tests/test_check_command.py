"""`zeroin check`, the short check before a run, and what the coordinator makes of their findings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from plain_study import BELL
from preflight_modules import Digits, Plain
from recorded_studies import RecordedStudies, call
from study_runs import Listener, run_session
from test_preflight import by_name, inspected
from virtual_engine import VirtualEngine

from lightning_modules.checks.finding import Finding, Verdict
from search.coordinator.interruption import Interruption
from search.coordinator.preflight import check_study, middle_of, thorough_checks
from search.coordinator.workforce import Workforce
from search.errors import StudyDefinitionError
from search.messages import Checks
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_file import definition_from_plain

OK = Finding(check="first loss", verdict=Verdict.OK, seen="2.3", healthy="ln C", figures={"loss": 2.3})
WARNED = Finding(check="input scale", verdict=Verdict.WARNING, seen="125", healthy="1", advice="divide")
FAILED = Finding(check="gradient flow", verdict=Verdict.FAILED, seen="none", healthy="all", advice="look for `detach`")
UNKNOWN = Finding(check="leakage (test)", verdict=Verdict.UNCHECKED, seen="there is no test split")


def bell(**changes: Any) -> StudyDefinition:
    stages = [{"name": "only", "n_trials": 2, "max_epochs": 1, "sampler": "random"}]
    return definition_from_plain({**BELL, "stages": stages, **changes})


# ---- before a run ----------------------------------------------------------------------------------------------------


class Untouchable:
    """Labels of the test split: whatever is done with them raises."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the labels were read: {name}")


class Batches:
    """A loader that is no DataLoader, and no list, which Lightning takes for several loaders."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


class SecretTest(Digits):
    def setup(self, stage: str) -> None:
        self.is_tested = stage == "test"

    def test_dataloader(self) -> Any:
        assert self.is_tested
        return Batches([(self._images[700:800], Untouchable())])


class WithNaN(Digits):
    def train_dataloader(self) -> Any:
        self._images[3] = math.nan
        return self._loader(range(64))


class DivergesAtOnce(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * math.inf


class SkipsTheBatch(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None


class OfDicts(Plain):
    """Its batches are no pairs, so that most checks of images and labels know nothing of them."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step((batch["x"], batch["y"]), batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step((batch["x"], batch["y"]), batch_idx)


class DictData(Digits):
    def _loader(self, indices: Sequence[int], *, shuffle: bool = False) -> Any:
        return Batches([{"x": images, "y": labels} for images, labels in super()._loader(indices)])


class OfTwoLoaders(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch["one"], batch_idx) + super().training_step(batch["other"], batch_idx)


class TwoLoaders(Digits):
    def train_dataloader(self) -> Any:
        return {name: super(TwoLoaders, self).train_dataloader() for name in ("one", "other")}


def quick(model: str, data: str = "preflight_modules.Digits", **data_args: Any) -> list[Finding]:
    return list(inspected(model, {}, data_args, data=data, thorough=False).findings)


def test_the_first_batch_of_a_sound_module_leaves_no_finding() -> None:
    assert quick("Plain") == []
    assert quick("NormalizesItself", bytes_=True) == []
    assert quick("ByHand") == []
    assert quick(f"{__name__}.SkipsTheBatch") == []
    assert quick(f"{__name__}.OfDicts", f"{__name__}.DictData") == []


@pytest.mark.parametrize(
    ("model", "data", "data_args", "check", "verdict"),
    [
        ("Detached", "preflight_modules.Digits", {}, "gradient flow", "failed"),
        ("Plain", f"{__name__}.WithNaN", {}, "pixel values (train)", "failed"),
        (f"{__name__}.DivergesAtOnce", "preflight_modules.Digits", {}, "first loss", "failed"),
        ("Plain", "preflight_modules.Digits", {"bytes_": True}, "input scale", "warning"),
        ("Summed", "preflight_modules.Digits", {}, "first loss", "warning"),
    ],
)
def test_the_first_batch_tells_what_is_surely_wrong(
    model: str, data: str, data_args: dict[str, Any], check: str, verdict: str
) -> None:
    found = {each.check: each for each in quick(model, data, **data_args)}
    assert found[check].verdict == verdict
    assert found[check].advice and found[check].healthy


def test_a_failed_check_stops_a_study_before_it_is_created(tmp_path: Path) -> None:
    state = StateDirectory(root=tmp_path / "mlruns")
    engine = VirtualEngine(findings=(WARNED, FAILED))
    with pytest.raises(
        StudyDefinitionError, match=r"gradient flow failed: none; healthy: all. Try: .*--no-check"
    ) as raised:
        run_session(state, engine, bell(), check=True)
    assert raised.value.key == "model.class_path"
    assert engine.closed and list(tmp_path.rglob("*")) == []


def test_values_that_are_no_numbers_are_looked_for_in_the_data(tmp_path: Path) -> None:
    lost = Finding(check="pixel values (train)", verdict=Verdict.FAILED, seen="1 of 9 images have NaN", healthy="none")
    engine, state = VirtualEngine(findings=(lost, FAILED)), StateDirectory(root=tmp_path / "mlruns")
    with pytest.raises(StudyDefinitionError, match=r"pixel values \(train\) failed: .* gradient flow failed") as raised:
        run_session(state, engine, bell(data={"class_path": "package.Data"}), check=True)
    assert raised.value.key == "data.class_path"


@pytest.mark.usefixtures("untracked")
def test_a_warning_is_told_and_nothing_is_checked_unless_asked_for(state: StateDirectory) -> None:
    listener = Listener()
    run_session(state, VirtualEngine(findings=(WARNED,)), bell(), check=True, observer=listener)
    assert [each for each in listener.notices if "input scale" in each] == [
        "check: input scale warning: 125; healthy: 1. Try: divide."
    ]
    other = bell(study="other")
    record = run_session(state, VirtualEngine(findings=(FAILED,)), other, check=False)
    assert len(record.trials) == 2


def test_what_the_check_warned_of_is_a_tag_of_the_run() -> None:
    from search.tracking import run_tags

    options: dict[str, Any] = {"versions": {}, "device": "CPU", "edits": ()}
    assert "zeroin.preflight" not in run_tags(**options)
    assert run_tags(**options, warnings=[])["zeroin.preflight"] == "ok"
    assert run_tags(**options, warnings=["a", "b"])["zeroin.preflight"] == "a\nb"


# ---- all checks ------------------------------------------------------------------------------------------------------


def test_what_is_searched_is_told_to_the_checks() -> None:
    space = {
        "model.learning_rate": {"log": [1.0e-4, 1.0]},
        "model.init_scheme": {"choice": ["he", "xavier"]},
        "model.momentum": {"one_minus_log": [0.5, 0.99]},
    }
    study = bell(space=space)
    checks = thorough_checks(study, middle_of(study))
    assert checks.learning_rates == pytest.approx((1e-2, 1e-1, 1e-3))
    assert (checks.learning_rate_range, checks.init_schemes) == ((1e-4, 1.0), ("he", "xavier"))
    fixed = bell(space={"model.momentum": {"one_minus_log": [0.5, 0.99]}})
    assert thorough_checks(fixed, middle_of(fixed)) == Checks(thorough=True)
    listed = bell(space={"model.lr": {"choice": [0.1, 0.2]}})
    assert thorough_checks(listed, middle_of(listed)) == Checks(thorough=True)


def checked(engine: VirtualEngine, study: StudyDefinition) -> tuple[Finding, ...]:
    return check_study(study, Workforce(engine, interruption=Interruption()), notify=lambda text: None).findings


def test_a_batch_that_does_not_go_through_is_a_finding_and_what_cannot_be_built_an_error() -> None:
    assert checked(VirtualEngine(findings=(OK, WARNED)), bell()) == (OK, WARNED)
    broken = ("the validation step raised", "model.class_path")
    findings = checked(VirtualEngine(findings=(OK,), inspection_error=broken), bell())
    assert (findings[0], findings[1].check, findings[1].verdict) == (OK, "one batch", Verdict.FAILED)
    assert "the validation step raised" in findings[1].seen and "model.class_path" in findings[1].advice
    with pytest.raises(StudyDefinitionError, match="the validation step raised"):
        checked(VirtualEngine(inspection_error=broken), bell())


@pytest.mark.parametrize(
    ("changes", "engine", "key"),
    [
        ({"constraints": {"val_los": {"at_most": 1.0}}}, {}, "constraints.val_los"),
        (
            {"objective": {"monitor": "val_acc", "direction": "maximize", "gap_weight": 0.5}},
            {"measures_gap": False},
            "objective.gap_weight",
        ),
    ],
)
def test_what_would_stop_a_run_fails_the_check(changes: dict[str, Any], engine: dict[str, Any], key: str) -> None:
    *others, last = checked(VirtualEngine(findings=(OK,), **engine), bell(**changes))
    assert (others, last.check, last.verdict) == ([OK], "one batch", Verdict.FAILED)
    assert key in last.advice


def test_test_labels_are_never_read_and_the_test_split_is_set_up_for_itself() -> None:
    finding = by_name(inspected("Plain", data=f"{__name__}.SecretTest"))["leakage (test)"]
    assert (finding.verdict, finding.figures["n_duplicates"]) == (Verdict.OK, 0.0), finding
    assert "100 test images" in finding.seen


@pytest.mark.parametrize(
    ("model", "data"), [("ByHand", "preflight_modules.Digits"), (f"{__name__}.OfDicts", f"{__name__}.DictData")]
)
def test_what_cannot_be_checked_says_why_and_fails_nothing(model: str, data: str) -> None:
    result = inspected(model, data=data)
    verdicts = {each.verdict for each in result.findings}
    assert result.error == "" and Verdict.UNCHECKED in verdicts
    assert Verdict.FAILED not in verdicts, result.findings
    assert all(each.seen for each in result.findings)


def test_other_checks_know_nothing_of_a_kind_of_batch_that_only_some_need() -> None:
    found = by_name(inspected(f"{__name__}.OfDicts", data=f"{__name__}.DictData"))
    for check in ("loss average", "activations", "gradient flow", "gradient check", "learning-rate range"):
        assert found[check].verdict is Verdict.OK, found[check]
    assert "no pairs" in found["class balance"].seen


def test_batches_of_several_train_loaders_are_those_of_training() -> None:
    found = by_name(inspected(f"{__name__}.OfTwoLoaders", data=f"{__name__}.TwoLoaders"))
    for check in ("input scale", "loss average", "gradient flow", "learning-rate range"):
        assert found[check].verdict is Verdict.OK, found[check]


@pytest.mark.slow
def test_initialization_schemes_are_compared() -> None:
    arguments = {"in_channels": 1, "n_classes": 10, "widths": [4, 4]}
    found = by_name(inspected("lightning_modules.ConvNet", arguments, init_schemes=("he", "normal")))
    stds = [found[f"activations ({name})"].figures["network.features.0.0.std"] for name in ("he", "normal")]
    assert stds[0] > 10.0 * stds[1]


def test_checks_leave_the_global_state_alone() -> None:
    inspected("Plain")
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "exit_code"), [((OK, UNKNOWN), 0), ((OK, WARNED), 0), ((OK, WARNED, FAILED, UNKNOWN), 1)]
)
def test_the_exit_code_says_whether_a_check_failed(
    studies: RecordedStudies, findings: tuple[Finding, ...], exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.findings = findings
    assert call(studies, "check", "digits", "--set", "seed=5", "--devices", "cpu") == exit_code
    out = capsys.readouterr().out
    for finding in findings:
        assert finding.check in out and finding.seen in out and finding.advice in out
    assert f"{len(findings)} checks: 1 ok" in out
    assert "init_scheme he" in out and max(map(len, out.splitlines())) <= 80
    options = studies.options_of("check")
    assert (options["definition"].seed, options["devices"]) == (5, "cpu")


def test_findings_can_be_read_by_programs(
    studies: RecordedStudies, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.findings = (OK, FAILED)
    assert call(studies, "check", "digits", "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["has_failed"] is True
    assert found["hyperparameters"] == {"model.learning_rate": 0.01, "model.init_scheme": "he"}
    assert found["findings"][0]["figures"] == {"loss": 2.3}
    assert found["findings"][1]["verdict"] == "failed"
    assert call(studies, "check", "digits", "-o", str(tmp_path / "report.txt")) == 1
    assert "look for `detach`" in (tmp_path / "report.txt").read_text()


def test_bad_input_is_not_a_failed_check(studies: RecordedStudies, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(studies, "check", "digitz") == 2
    assert "Did you mean 'digits'?" in capsys.readouterr().err
    studies.failure = StudyDefinitionError("no class 'Nett'.", key="model.class_path")
    assert call(studies, "check", "digits") == 2
    assert "digits.yaml:4: model.class_path: no class 'Nett'." in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["run", "digits"], ["run", "digits", "--dry-run"]])
def test_the_check_before_a_run_can_be_left_out(studies: RecordedStudies, arguments: list[str]) -> None:
    asked = "preview" if "--dry-run" in arguments else "run"
    assert call(studies, *arguments) == 0
    assert studies.options_of(asked)["check"] is True
    studies.calls.clear()
    assert call(studies, *arguments, "--no-check") == 0
    assert studies.options_of(asked)["check"] is False


@pytest.mark.slow
def test_the_digits_pass_and_nothing_is_created(tmp_path: Path) -> None:
    done = CommandLine(directory=tmp_path).called("check", "digits", "--devices", "cpu:2", "--format", "json")
    found = json.loads(done.stdout)
    assert [each for each in found["findings"] if each["verdict"] != "ok"] == []
    assert {"activations (he)", "activations (normal)"} <= {each["check"] for each in found["findings"]}
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
