"""Tables of searches by real training: the winners' test accuracy and gap, and zeroin against each other method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeAlias

import numpy as np
from real_runs import Run
from table_cells import header, interval, line, p_value

_OURS = "zeroin"
_ALL = "all tasks"
_Pair: TypeAlias = tuple[str, int]  # task and seed
_Percent: TypeAlias = Mapping[str, Mapping[_Pair, float]]  # test accuracy by method and pair


def report(runs: Iterable[Run]) -> str:
    """Return the tables of all runs in Markdown, those of different budgets apart."""
    groups: dict[tuple[int, int], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.setting.budget_epochs, run.setting.n_epochs].append(run)
    return "\n\n".join(_tables(*conditions, group) for conditions, group in groups.items())


def _tables(budget_epochs: int, n_epochs: int, runs: Sequence[Run]) -> str:
    tasks = list(dict.fromkeys(run.setting.task for run in runs))
    accuracies: dict[str, dict[_Pair, float]] = defaultdict(dict)
    for run in runs:
        accuracies[run.setting.method][run.setting.task, run.setting.seed] = 100.0 * run.test_acc
    parts = [f"**{budget_epochs} epochs a search, {n_epochs} a full training**"]
    parts += [_task_table(task, [run for run in runs if run.setting.task == task]) for task in tasks]
    if _OURS in accuracies and len(accuracies) > 1:
        parts.append(_against(accuracies, tasks))
    parts.append(f"Versions: {', '.join(sorted({run.version for run in runs}))}.")
    return "\n\n".join(parts)


def _task_table(task: str, runs: Sequence[Run]) -> str:
    """One line a method, the best test accuracy first; means over its seeds with 95 % confidence intervals."""
    methods: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        methods[run.setting.method].append(run)
    measured = ("test accuracy, %", "val accuracy, %", "gap, points", "epochs", "trainings", "wall, s", "searching, s")
    lines = header(task, "seeds", *measured)
    for method in sorted(methods, key=lambda each: -fmean(run.test_acc for run in methods[each])):
        own = methods[method]
        lines.append(
            line(
                method,
                str(len(own)),
                _percent([100.0 * run.test_acc for run in own]),
                _percent([100.0 * run.val_acc for run in own]),
                _percent([100.0 * run.gap_acc for run in own]),
                f"{fmean(run.n_spent for run in own):.0f}",
                f"{fmean(run.n_trainings for run in own):.1f}",
                f"{fmean(run.wall_seconds for run in own):.0f}",
                f"{fmean(run.wall_seconds - run.training_seconds for run in own):.1f}",
            )
        )
    return "\n".join(lines)


def _against(accuracies: _Percent, tasks: Sequence[str]) -> str:
    """Our test accuracy less the other's over the seeds that both have, with the two-sided test's p."""
    columns = [*tasks, _ALL] if len(tasks) > 1 else list(tasks)
    lines = header("zeroin's test accuracy less that of", *columns)
    for method in sorted(set(accuracies) - {_OURS}):
        pairs = sorted(set(accuracies[_OURS]) & set(accuracies[method]))
        cells = []
        for column in columns:
            chosen = [pair for pair in pairs if column in (pair[0], _ALL)]
            cells.append(_difference([accuracies[_OURS][pair] - accuracies[method][pair] for pair in chosen]))
        lines.append(line(method, *cells))
    return "\n".join(lines)


def _difference(values: Sequence[float]) -> str:
    return f"{_percent(values)}, p = {p_value(np.array(values)):.2g}" if values else ""


def _percent(values: Sequence[float]) -> str:
    return interval(values, n_decimals=2)
