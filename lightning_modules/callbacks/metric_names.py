"""How metrics of our own are called, among them those derived from a validation metric."""

from __future__ import annotations

GAP_PREFIX = "gap_"
"""What names of generalization gaps begin with."""

_VALIDATION_PREFIXES = ("val_", "val/", "val-", "val.", "valid_", "valid/", "validation_", "validation/")


def stem(metric: str) -> str:
    """Return the metric's name without its validation prefix: ``val_acc`` gives ``acc``, ``auroc`` stays."""
    for prefix in _VALIDATION_PREFIXES:
        if metric.startswith(prefix) and len(metric) > len(prefix):
            return metric[len(prefix) :]
    return metric


def train_eval_name(metric: str) -> str:
    """Name of the same metric on the train subset in eval mode: ``val_acc`` gives ``train_eval_acc``."""
    return f"train_eval_{stem(metric)}"


def gap_name(metric: str) -> str:
    """Name of its generalization gap, positive = overfitting: ``val_acc`` gives ``gap_acc``."""
    return f"{GAP_PREFIX}{stem(metric)}"


N_PARAMETERS = "n_parameters"
"""Trainable parameters, reported with every epoch where a study asks for it."""
