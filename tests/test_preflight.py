"""Checks of model and data pass what is sound and catch what is broken on purpose, on the user's own modules."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_modules.checks.finding import Finding, Verdict
from search.messages import Checks, Inspect, InspectionResult, ModelAssembly
from search.worker.inspection import inspect_assembly

MODULES = "preflight_modules"

BROKEN: list[tuple[str, str, dict[str, Any], dict[str, Any], str, str]] = [
    ("labels shuffled", "Plain", {}, {"shuffled": True}, "labels and images", "shuffled"),
    ("softmax twice", "SoftmaxTwice", {}, {}, "learning by heart", "ends in a softmax"),
    ("detached graph", "Detached", {}, {}, "gradient flow", "no weight is reached"),
    ("part of it detached", "DetachedFeatures", {}, {}, "gradient flow", "network.1.weight"),
    ("gradients not cleared", "NeverCleared", {}, {}, "gradient flow", "optimizer_zero_grad"),
    ("frozen by mistake", "Frozen", {}, {}, "frozen parameters", "requires_grad"),
    ("not in the optimizer", "ForgottenByItsOptimizer", {}, {}, "frozen parameters", "optimizer does not have"),
    ("init far too small", "ScaledWeights", {"scale": 1e-2}, {}, "activations", "too small"),
    ("init far too large", "ScaledWeights", {"scale": 30.0}, {}, "activations", "too large"),
    ("too many classes", "OtherOutputs", {"n_outputs": 12}, {}, "number of classes", "10, 11"),
    ("too few classes", "OtherOutputs", {"n_outputs": 7}, {}, "number of classes", "0 to 6"),
    ("bytes as they are", "Plain", {}, {"bytes_": True}, "input scale", "0 to 255"),
    ("val leaks into train", "Plain", {}, {"leak": 40}, "leakage (val)", "val"),
    ("test leaks into train", "Plain", {}, {"test_leak": 10}, "leakage (test)", "test"),
    ("loss summed", "Summed", {}, {}, "loss average", "mean"),
]
WARNED_OF_ONLY = {"labels and images", "input scale"}
"""Checks that a sound module may not pass either."""

HEALTHY: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("preflight_modules.Plain", {}, {}),
    ("preflight_modules.TanhWithPenalty", {}, {}),
    ("preflight_modules.NormalizesItself", {}, {"bytes_": True}),
    ("preflight_modules.Transferred", {}, {}),
    ("preflight_modules.SmoothedWithWarmUp", {}, {}),
    ("lightning_modules.ConvNet", {"in_channels": 1, "n_classes": 10, "widths": [8, 8]}, {}),
]


def inspected(
    model: str,
    model_args: dict[str, Any] | None = None,
    data_args: dict[str, Any] | None = None,
    *,
    data: str = f"{MODULES}.Digits",
    **checks: Any,
) -> InspectionResult:
    assembly = ModelAssembly(
        model_class=model if "." in model else f"{MODULES}.{model}",
        model_args=model_args or {},
        data_class=data,
        data_args=data_args or {},
        trainer_args={},
        monitor="val_acc",
        maximize=True,
        data_seed=0,
    )
    return inspect_assembly(Inspect(assembly=assembly, searched=(), checks=Checks(**{"thorough": True, **checks})))


def by_name(result: InspectionResult) -> dict[str, Finding]:
    return {each.check: each for each in result.findings}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "model_args", "data_args", "check", "words"),
    [each[1:] for each in BROKEN],
    ids=[each[0] for each in BROKEN],
)
def test_a_module_that_is_broken_on_purpose_is_caught(
    model: str, model_args: dict[str, Any], data_args: dict[str, Any], check: str, words: str
) -> None:
    finding = by_name(inspected(model, model_args, data_args))[check]
    assert finding.verdict is (Verdict.WARNING if check in WARNED_OF_ONLY else Verdict.FAILED), finding
    assert words in finding.advice
    assert finding.healthy and finding.figures


@pytest.mark.slow
@pytest.mark.parametrize(("model", "model_args", "data_args"), HEALTHY, ids=[each[0] for each in HEALTHY])
def test_a_sound_module_passes_every_check(model: str, model_args: dict[str, Any], data_args: dict[str, Any]) -> None:
    result = inspected(model, model_args, data_args)
    assert result.error == ""
    assert [each for each in result.findings if each.verdict is not Verdict.OK] == []
    assert len(result.findings) >= 16
