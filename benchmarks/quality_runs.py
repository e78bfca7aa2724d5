"""Runs of a method on a surface: what is asked for, what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from epoch_meter import EpochMeter
from lcbench_surface import LCBenchSurface
from quality_methods import run_method, version_of
from quality_surface import Surface, draw_seed
from synthetic_surface import SyntheticSurface


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What runs must have in common to be compared.

    Attributes:
        surface: ``lcbench`` or ``synthetic``.
        noise: Standard deviation of the synthetic surface's noise.
        n_epochs: Epochs of a training of full length.
        budget_epochs: Epochs of a run.
        n_workers: Asynchronous workers.
        from_scratch: Whether going on from a checkpoint costs the epochs up to there again.
    """

    surface: str
    noise: float
    n_epochs: int
    budget_epochs: int
    n_workers: int
    from_scratch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One run to be made."""

    conditions: Conditions
    method: str
    instance: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method} {self.instance} seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that was made.

    Attributes:
        setting: Of it.
        improvements: Epochs spent at each new incumbent, and its normalized regret.
        n_suggestions: Trainings begun.
        suggestion_ms: Processor time for each, in milliseconds; wall time of zeroin's coordinator.
        version: Of the method's package.
    """

    setting: Setting
    improvements: Sequence[tuple[int, float]]
    n_suggestions: int
    suggestion_ms: float
    version: str

    def __str__(self) -> str:
        return f"{100.0 * self.regret_after(self.setting.conditions.budget_epochs):.2f}"

    def regret_after(self, n_epochs: int) -> float:
        """Return the incumbent's normalized regret after so many epochs, >= 1."""
        return next(regret for spent, regret in reversed(self.improvements) if spent <= n_epochs)


def open_surface(conditions: Conditions, instance: str, *, data: Path | None) -> Surface:
    """Return an instance's surface.

    Raises:
        SurfaceError: If it cannot be had.
    """
    if conditions.surface == "synthetic":
        return SyntheticSurface(instance, noise=conditions.noise, n_epochs=conditions.n_epochs)
    return LCBenchSurface(data, instance)


def make_run(setting: Setting, *, data: Path | None) -> Run:
    """Make a run in this process.

    Raises:
        SurfaceError: If its surface cannot be had.
    """
    conditions = setting.conditions
    meter = EpochMeter(
        surface=open_surface(conditions, setting.instance, data=data),
        budget_epochs=conditions.budget_epochs,
        from_scratch=conditions.from_scratch,
    )
    seed = draw_seed(setting.instance, setting.seed)
    suggestions = run_method(setting.method, meter, n_workers=conditions.n_workers, seed=seed)
    return Run(
        setting=setting,
        improvements=tuple((spent, round(regret, 7)) for spent, regret in meter.improvements),
        n_suggestions=suggestions.n,
        suggestion_ms=round(1e3 * suggestions.seconds / max(1, suggestions.n), 3),
        version=version_of(setting.method),
    )
