"""What coordinator and workers say to each other: plain typed data, one JSON object a line, never pickled code.

Every message about a trial carries its key, so that one worker may run several trials at a time.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias, get_args

from lightning_modules.checks.finding import Finding, Verdict

MPS_VARIABLE = "ZEROIN_MPS"
"""Environment variable that is ``1`` for a worker that is to use Apple's GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAssembly:
    """All that a worker needs to build a trial's objects: constants and hyperparameters already merged.

    Attributes:
        model_class: Import path of a LightningModule.
        model_args: Its init arguments.
        data_class: Import path of a LightningDataModule, or None if the module brings its own loaders.
        data_args: Its init arguments.
        trainer_args: Arguments for `pytorch_lightning.Trainer`, without those that zeroin sets itself.
        monitor: Metric that must be logged in validation.
        maximize: Whether more of it is better (decides the sign of its generalization gap).
        data_seed: Random state in which data are set up, the same for every trial of a study: a module that splits its
            data at random, without a seed of its own, splits them alike in all trials, refits and the test.
        counts_parameters: Whether ``n_parameters`` is to be reported with every epoch.
        further_maximize: Whether more is better of the metrics of further objectives, by name; likewise.
    """

    model_class: str
    model_args: Mapping[str, Any]
    data_class: str | None
    data_args: Mapping[str, Any]
    trainer_args: Mapping[str, Any]
    monitor: str
    maximize: bool
    data_seed: int
    counts_parameters: bool = False
    further_maximize: Mapping[str, bool] = field(default_factory=dict)


# ---- coordinator to worker -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What is to be checked of model and data, beyond that one batch runs.

    Attributes:
        thorough: Whether all checks are made; else those that the one batch of the dry run costs next to nothing.
        learning_rates: Searched learning rates to try one after another, each > 0; empty if it is not searched.
        learning_rate_range: Bounds of the searched learning rate, None if it is not searched.
        init_schemes: Values of the model's ``init_scheme`` to compare; empty if it is not searched.
    """

    thorough: bool
    learning_rates: tuple[float, ...] = ()
    learning_rate_range: tuple[float, float] | None = None
    init_schemes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Build everything once and run one batch of training and validation, without writing anything.

    Attributes:
        searched: Names of the searched arguments (``model.learning_rate``), to be found in the classes' signatures.
        hang_timeout_seconds: Time, > 0, after which the worker counts as hung and ends itself, or None for never.
        checks: What else is checked, None for nothing.
    """

    assembly: ModelAssembly
    searched: tuple[str, ...]
    hang_timeout_seconds: float | None = None
    checks: Checks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAssignment:
    """Train one trial.

    Attributes:
        trial_key: Name of the trial in its study.
        directory: Where its checkpoints and its captured output go (absolute path; exists).
        seed: Seed of the training; the random state of epoch e is a function of (seed, e).
        n_epochs: Stop after that many epochs in all, counted from the trial's beginning.
        horizon_epochs: The Trainer's ``max_epochs``: what learning-rate schedules see as the end of training.
        resume: Continue from the checkpoint in `directory` if there is one.
        n_epochs_reported: Epochs whose reports the coordinator holds already; later ones found in the checkpoint are
            reported again.
        merge_validation: Train on train + val and validate on nothing (refit).
        hang_timeout_seconds: Time without a finished batch after which the worker counts as hung and ends itself, > 0,
            or None for never.
        checkpoints: URL of a directory for its checkpoints, of which `directory` then has copies at most; empty if they
            are in `directory` alone.
        inherited_directory: Directory of the trial whose checkpoint it begins with while it has none of its own; empty
            if it begins with nothing.
        inherited_checkpoints: URL of the directory for that trial's checkpoints, as `checkpoints`.
        keeps_cycle_ends: Of a refit: whether its weights at the ends of its learning-rate cycles are kept beside the
            final ones.
        keeps_last_epochs: Of a refit: after how many of its last epochs its weights are kept, the final ones among
            them; 0 for the final ones alone.
    """

    trial_key: str
    assembly: ModelAssembly
    directory: str
    seed: int
    n_epochs: int
    horizon_epochs: int
    resume: bool
    n_epochs_reported: int
    merge_validation: bool
    hang_timeout_seconds: float | None = None
    checkpoints: str = ""
    inherited_directory: str = ""
    inherited_checkpoints: str = ""
    keeps_cycle_ends: bool = False
    keeps_last_epochs: int = 0


class Action(StrEnum):
    """What a trial does after an epoch."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"  # stop after writing the checkpoint, to be continued later


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Answer to the `EpochReport` of the same trial and epoch."""

    trial_key: str
    epoch: int
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class TestAssignment:
    """Read the test split once with the given refits.

    Attributes:
        trial_keys: The refits' keys.
        directories: Their directories with the final weights, in the same order.
        ensemble: Whether to average the members' probabilities too.
        checkpoints: URLs to get their weights from instead, in the same order; empty where `directories` have them.
        hang_timeout_seconds: As for a trial.
        model_args: Each one's init arguments of the model, in the same order; empty if all have those of `assembly`.
        has_snapshots: Whether each has kept further weights, which are members too.
    """

    __test__ = False  # not a test class

    assembly: ModelAssembly
    trial_keys: tuple[str, ...]
    directories: tuple[str, ...]
    ensemble: bool
    checkpoints: tuple[str, ...] = ()
    hang_timeout_seconds: float | None = None
    model_args: tuple[Mapping[str, Any], ...] = ()
    has_snapshots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageAssignment:
    """Write the given members into one file, from which raw images can be classified without the study.

    Attributes:
        trial_keys: The refits' keys.
        directories: Their directories with the final weights, in the same order.
        file: Absolute path of the file to write.
        checkpoints: As for a test.
        file_url: URL of the directory that the file goes to instead if the worker does not see the directory of `file`;
            empty if there is none.
        hang_timeout_seconds: As for a trial.
        model_args: As for a test.
        has_snapshots: As for a test.
    """

    assembly: ModelAssembly
    trial_keys: tuple[str, ...]
    directories: tuple[str, ...]
    file: str
    checkpoints: tuple[str, ...] = ()
    file_url: str = ""
    hang_timeout_seconds: float | None = None
    model_args: tuple[Mapping[str, Any], ...] = ()
    has_snapshots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAssignment:
    """Show what a refitted member has learnt to see, on a few validation images.

    Attributes:
        directory: With its final weights.
        checkpoint: URL to get them from instead; empty where `directory` has them.
        hang_timeout_seconds: As for a trial.
    """

    assembly: ModelAssembly
    directory: str
    checkpoint: str = ""
    hang_timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """End the worker process when idle."""


# ---- worker to coordinator -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReady:
    """Imports are done; the worker takes assignments. `versions`: library name to version; `device`: in words."""

    pid: int
    device: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Sent every second by a thread of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that the user should know at once, about a trial that goes on."""

    trial_key: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Farewell:
    """The worker is about to kill itself with all its processes; `reason` says why, in words."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionResult:
    """Answer to `Inspect`.

    Attributes:
        error: What is wrong, in a sentence with the values and what was expected; empty if all is well.
        error_key: Dotted key of the study file that the error is about (``model.class_path``).
        metrics: Names that one validation run logged.
        notices: What the user should know (``the gap includes augmentation: …``).
        n_parameters: Trainable parameters of the model.
        measures_gap: Whether the monitored metric's generalization gap could be measured; `notices` say why not.
        has_test_data: Whether the data module or the model defines ``test_dataloader``.
        traceback: The user code's traceback if it raised, else empty.
        free_bytes: Memory of the device that was free before the model was built, 0 if unknown.
        trial_bytes: What the batch of training and validation took of it at most, 0 if unknown.
        worker_bytes: What a worker takes of it before any training, 0 if unknown.
        n_cores: CPU cores that the worker's machine lends to it and its neighbours, 0 if unknown.
        out_of_memory: Whether that is what `error` is about.
        measured: Names of all that an epoch reports.
        findings: Of the checks that were asked for, also where `error` tells of a batch that did not go through.
        n_lr_cycles: Learning-rate cycles of the training that was tried, None if the module does not tell.
    """

    error: str
    error_key: str
    metrics: tuple[str, ...]
    notices: tuple[str, ...]
    n_parameters: int
    measures_gap: bool
    has_test_data: bool
    traceback: str
    free_bytes: int = 0
    trial_bytes: int = 0
    worker_bytes: int = 0
    n_cores: int = 0
    out_of_memory: bool = False
    measured: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    n_lr_cycles: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """Metrics of one finished epoch; the worker waits for the `Decision` after it has written its checkpoint.

    Attributes:
        epoch: Epochs finished, >= 1.
        metrics: Scalars by name; may hold NaN and infinities.
    """

    trial_key: str
    epoch: int
    metrics: Mapping[str, float]


class Cause(StrEnum):
    """What made a training raise."""

    USER_CODE = "user_code"
    OUT_OF_MEMORY = "out_of_memory"
    STORAGE = "storage"  # the trial's directory, or its checkpoints' URL, is not there or cannot be written to


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """The worker left the trial; it is idle again.

    Attributes:
        n_epochs: Epochs that the trial has finished in all.
        stopped_by_module: Whether the user's own code (a callback of its own) ended it before the coordinator did.
        error: ``Type: message`` if it raised, else empty.
        traceback: The traceback if it raised, else empty.
        notices: What the user should know, once per study.
        cause: What made it raise, if it did.
        resident_bytes: Memory that the worker process holds now that the trial is gone, 0 if unknown.
    """

    trial_key: str
    n_epochs: int
    stopped_by_module: bool
    error: str
    traceback: str
    notices: tuple[str, ...]
    cause: Cause = Cause.USER_CODE
    resident_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """Answer to `TestAssignment`.

    Attributes:
        members: Metrics of each member on the test split, in the order of the assignment; of a refit that has kept
            several weights, in the order of training.
        ensemble: Metrics of the probabilities that all members average to; empty if there is no ensemble.
        n_samples: Test samples read.
        notices: Why there is no ensemble, which step stood in for ``test_step``, ….
        error: ``Type: message`` if it raised, else empty.
        traceback: The traceback if it raised, else empty.
        sizes: Members of each refit, >= 1.
        scores: Metrics of each member's own probabilities, measured like those of an ensemble; empty without one.
        ensembles: Of each refit, the metrics of the probabilities that its own members average to; empty without an
            ensemble.
        confusion: How often images of each class, a row each, were taken for each class by the average of all members,
            or, without an ensemble, by the first one; empty if it has no classes to tell apart.
        left_out: Metrics of the probabilities that all members but one average to, for each of them; empty unless there
            are three or more, each a refit of its own.
    """

    __test__ = False  # not a test class

    members: tuple[Mapping[str, float], ...]
    ensemble: Mapping[str, float]
    n_samples: int
    notices: tuple[str, ...]
    error: str
    traceback: str
    sizes: tuple[int, ...] = ()
    scores: tuple[Mapping[str, float], ...] = ()
    ensembles: tuple[Mapping[str, float], ...] = ()
    confusion: tuple[Sequence[int], ...] = ()
    left_out: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageResult:
    """Answer to `PackageAssignment`.

    Attributes:
        is_packaged: Whether the file has been written.
        notices: What the user should know about the packaged model, or why there is none.
        error: ``Type: message`` if it raised, else empty.
        traceback: The traceback if it raised, else empty.
    """

    is_packaged: bool
    notices: tuple[str, ...] = ()
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Answer to `LookAssignment`; numbers as nested lists.

    Attributes:
        filters: Of the first convolution, ``(n_filters, n_channels, height, width)``; empty if there is none.
        maps: By layer, what it makes of the first image, ``(n_maps, height, width)``.
        images: What the network was given, ``(n, n_channels, height, width)``; empty if it takes no images.
        saliency: ``(n, height, width)``, >= 0.
        labels: Class of each image.
        predicted: What it was taken for.
        notices: What the user should know.
        error: ``Type: message`` if it raised, else empty.
        traceback: The traceback if it raised, else empty.
    """

    filters: Sequence[Any] = ()
    maps: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    images: Sequence[Any] = ()
    saliency: Sequence[Any] = ()
    labels: Sequence[int] = ()
    predicted: Sequence[int] = ()
    notices: tuple[str, ...] = ()
    error: str = ""
    traceback: str = ""


ToWorker: TypeAlias = (
    Inspect | TrialAssignment | Decision | TestAssignment | PackageAssignment | LookAssignment | Shutdown
)
FromWorker: TypeAlias = (
    WorkerReady
    | Heartbeat
    | Notice
    | Farewell
    | InspectionResult
    | EpochReport
    | TrialEnded
    | TestResult
    | PackageResult
    | Views
)
Message: TypeAlias = ToWorker | FromWorker

_TUPLES = (
    *("searched", "notices", "members", "metrics", "measured", "trial_keys", "directories", "checkpoints"),
    *("model_args", "sizes", "scores", "ensembles", "confusion", "left_out"),
)
_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in get_args(Message)}


def encode(message: Message) -> bytes:
    """Return the message as one line of JSON with its newline (NaN and infinities as JavaScript spells them)."""
    body = {"type": type(message).__name__, **dataclasses.asdict(message)}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message in one line of JSON.

    Raises:
        ValueError: If the line is no JSON object or names no message type.
        TypeError: If fields are missing or unknown.
    """
    body = json.loads(line)
    if not isinstance(body, dict) or body.get("type") not in _TYPES:
        raise ValueError(f"not a message: {line[:200]!r}")
    cls = _TYPES[body.pop("type")]
    if "assembly" in body:
        body["assembly"] = ModelAssembly(**body["assembly"])
    for name in _TUPLES:
        if isinstance(body.get(name), list):
            body[name] = tuple(body[name])
    if body.get("checks") is not None:
        body["checks"] = _decoded_checks(body["checks"])
    if "findings" in body:
        body["findings"] = tuple(Finding(**{**each, "verdict": Verdict(each["verdict"])}) for each in body["findings"])
    if "action" in body:
        body["action"] = Action(body["action"])
    if "cause" in body:
        body["cause"] = Cause(body["cause"])
    message: Message = cls(**body)
    return message


def _decoded_checks(body: dict[str, Any]) -> Checks:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
    return Checks(**fields)
