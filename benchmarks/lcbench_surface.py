"""LCBench: learning curves of networks on OpenML data sets, from the surrogate that YAHPO Gym fitted to them.

Source: Zimmer et al., "Auto-PyTorch Tabular", IEEE TPAMI 2021; Pfisterer et al., "YAHPO Gym", AutoML-Conf 2022.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from quality_surface import Point, SurfaceError, SurfaceRange

LCBENCH = "lcbench"
_INPUTS = ("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout")
"""Columns of the model's input after the epoch."""

_INSTANCE, _EPOCH, _VAL_ACCURACY = "OpenML_task_id", "epoch", 1


class LCBenchSurface:
    """The validation accuracy, in ``[0, 1]``, on one data set.

    Args:
        directory: Holds ``model.onnx``, ``config_space.json``, ``encoding.json`` (codes of the data sets that the model
            knows) and ``best_known.json`` (best accuracy in percent and median of random configurations, at the last
            epoch). None if nobody named one.
        instance: OpenML task.

    Raises:
        SurfaceError: If no directory is named, a file is missing or unfit, the data set is unknown, or onnxruntime is
            not installed.
    """

    def __init__(self, directory: Path | None, instance: str) -> None:
        codes = lcbench_instances(directory)
        assert directory is not None
        known = _read(directory / "best_known.json")
        if instance not in codes or instance not in known:
            raise SurfaceError(f"an instance must be one of {', '.join(codes)}, but got {instance!r}.")
        try:
            self._best = known[instance]["best52"] / 100.0
            self._median = known[instance]["median"] / 100.0
            spaces = {each["name"]: each for each in _read(directory / "config_space.json")["hyperparameters"]}
            self.ranges: Sequence[SurfaceRange] = [_range(spaces[name]) for name in _INPUTS]
            self.n_epochs = int(spaces[_EPOCH]["upper"])
        except (KeyError, TypeError) as error:
            raise SurfaceError(f"{directory} has no entry {error} where one is needed.") from None
        self._code = codes[instance]
        self._model = _model(directory / "model.onnx")

    def curve(self, point: Point) -> list[float]:
        x_cont = np.empty((self.n_epochs, 1 + len(_INPUTS)), np.float32)
        x_cont[:, 0] = np.arange(1, self.n_epochs + 1)
        x_cont[:, 1:] = [point[name] for name in _INPUTS]
        x_cat = np.full((self.n_epochs, 1), self._code, np.int32)
        output = self._model.run(None, {"x_cat": x_cat, "x_cont": x_cont})[0][:, _VAL_ACCURACY]
        if not np.isfinite(output).all():
            raise SurfaceError(
                f"the model has no finite answer for {dict(point)} on the data set of code {self._code}."
            )
        return [float(value) / 100.0 for value in output]

    def true_curve(self, point: Point) -> list[float]:
        return self.curve(point)

    def normalized_regret(self, value: float) -> float:
        return (self._best - value) / (self._best - self._median)


def lcbench_instances(directory: Path | None) -> dict[str, int]:
    """Return the data sets of a directory with their codes.

    Raises:
        SurfaceError: If it cannot be read, or is None.
    """
    if directory is None:
        raise SurfaceError("LCBench's learning curves are not part of zeroin: name their directory, --data DIR.")
    codes: dict[str, int] = _read(directory / "encoding.json").get(_INSTANCE, {})
    if not codes:
        raise SurfaceError(f"{directory / 'encoding.json'} must map names under {_INSTANCE!r} to codes.")
    return codes


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise SurfaceError(f"{file} cannot be read as JSON: {error}") from None
    return content


def _range(entry: dict[str, Any]) -> SurfaceRange:
    is_int, is_log = entry["type"] == "uniform_int", bool(entry["log"])
    kinds: dict[tuple[bool, bool], Literal["log", "linear", "int", "int_log"]] = {
        (True, True): "int_log",
        (True, False): "int",
        (False, True): "log",
        (False, False): "linear",
    }
    return SurfaceRange(name=entry["name"], kind=kinds[is_int, is_log], low=entry["lower"], high=entry["upper"])


def _model(file: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise SurfaceError(f"{error}: install zeroin with its extra [benchmarks], or onnxruntime.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a class that onnxruntime keeps to itself
        raise SurfaceError(f"{file} cannot be loaded: {error}") from None
