import json
import math

import pytest

from lightning_modules.checks.finding import Finding, Verdict
from search.messages import (
    Action,
    Checks,
    Decision,
    EpochReport,
    Heartbeat,
    Inspect,
    InspectionResult,
    LookAssignment,
    Message,
    ModelAssembly,
    PackageAssignment,
    PackageResult,
    Shutdown,
    TestAssignment,
    TestResult,
    TrialAssignment,
    TrialEnded,
    Views,
    WorkerReady,
    decode,
    encode,
)

ASSEMBLY = ModelAssembly(
    model_class="package.Net",
    model_args={"widths": [8, 16], "learning_rate": 1e-3},
    data_class=None,
    data_args={},
    trainer_args={"precision": "32-true"},
    monitor="val_acc",
    maximize=True,
    data_seed=3,
)

MESSAGES: list[Message] = [
    Inspect(assembly=ASSEMBLY, searched=("model.learning_rate",)),
    Inspect(
        assembly=ASSEMBLY,
        searched=(),
        checks=Checks(
            thorough=True, learning_rates=(0.1, 0.2), learning_rate_range=(1e-3, 1.0), init_schemes=("he", "normal")
        ),
    ),
    TrialAssignment(
        trial_key="trial-0001",
        assembly=ASSEMBLY,
        directory="/tmp/x",
        seed=7,
        n_epochs=2,
        horizon_epochs=24,
        resume=True,
        n_epochs_reported=1,
        merge_validation=False,
    ),
    Decision(trial_key="trial-0001", epoch=1, action=Action.PAUSE),
    TestAssignment(
        assembly=ASSEMBLY,
        trial_keys=("a", "b"),
        directories=("/a", "/b"),
        ensemble=True,
        model_args=({"depth": 1}, {"depth": 2}),
        has_snapshots=True,
    ),
    PackageAssignment(assembly=ASSEMBLY, trial_keys=("a", "b"), directories=("/a", "/b"), file="/model.zip"),
    PackageResult(is_packaged=True, notices=("as it is",)),
    LookAssignment(assembly=ASSEMBLY, directory="/a"),
    Views(
        filters=[[[[0.5, -1.0]]]],
        maps={"conv": [[[1.0]]]},
        images=[],
        saliency=[],
        labels=[1],
        predicted=[2],
        notices=("seen",),
    ),
    Shutdown(),
    WorkerReady(pid=1, device="CPU", versions={"torch": "2.13.0"}),
    Heartbeat(),
    InspectionResult(
        error="",
        error_key="",
        metrics=("val_acc",),
        notices=(),
        n_parameters=10,
        measures_gap=True,
        has_test_data=False,
        traceback="",
        findings=(
            Finding(check="first loss", verdict=Verdict.FAILED, seen="9", healthy="2.3", figures={"loss": math.inf}),
            Finding(check="leakage", verdict=Verdict.UNCHECKED, seen="no images"),
        ),
    ),
    EpochReport(trial_key="trial-0001", epoch=3, metrics={"val_acc": 0.5, "val_loss": math.inf}),
    TrialEnded(trial_key="t", n_epochs=2, stopped_by_module=False, error="", traceback="", notices=("a",)),
    TestResult(
        members=({"test_acc": 1.0},) * 2,
        ensemble={"test_acc": 1.0},
        n_samples=3,
        notices=(),
        error="",
        traceback="",
        sizes=(2,),
        scores=({"test_acc": 1.0},) * 2,
        ensembles=({"test_acc": 1.0},),
    ),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_nan_metrics_survive_the_wire() -> None:
    sent = EpochReport(trial_key="t", epoch=1, metrics={"val_loss": math.nan})
    received = decode(encode(sent))
    assert isinstance(received, EpochReport)
    assert math.isnan(received.metrics["val_loss"])


@pytest.mark.parametrize("line", [b"not json\n", b"[1]\n", b'{"type": "Unknown"}\n', b'{"no": "type"}\n'])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a message|Expecting"):
        decode(line)


def test_unknown_fields_are_refused() -> None:
    body = json.loads(encode(Heartbeat())) | {"code": "print(1)"}
    with pytest.raises(TypeError, match="code"):
        decode(json.dumps(body).encode())
