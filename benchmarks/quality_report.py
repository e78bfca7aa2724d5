"""Tables of runs: mean normalized regret, mean rank, tests against each peer, time of a suggestion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from quality_methods import OURS, is_ours
from quality_runs import Conditions, Run
from quality_surface import checkpoints
from scipy.stats import rankdata
from table_cells import header, line, p_value

_Pair: TypeAlias = tuple[str, int]  # instance and seed
_Regrets: TypeAlias = Mapping[str, Mapping[_Pair, NDArray[np.float64]]]  # x100 at each checkpoint, by method and pair


def report(runs: Iterable[Run]) -> str:
    """Return the tables of all runs in Markdown, those of different conditions apart."""
    by_conditions: dict[Conditions, list[Run]] = defaultdict(list)
    for run in runs:
        by_conditions[run.setting.conditions].append(run)
    return "\n\n".join(_tables(conditions, group) for conditions, group in by_conditions.items())


def _tables(conditions: Conditions, runs: Sequence[Run]) -> str:
    budgets = checkpoints(conditions.n_epochs, budget_epochs=conditions.budget_epochs)
    regrets: dict[str, dict[_Pair, NDArray[np.float64]]] = defaultdict(dict)
    for run in runs:
        values = [100.0 * run.regret_after(budget) for budget in budgets]
        regrets[run.setting.method][run.setting.instance, run.setting.seed] = np.array(values)
    parts = [_title(conditions), _regret_table(runs, regrets, budgets)]
    if OURS in regrets and len(regrets) > 1:
        parts.append(_against(regrets, budgets))
    parts.append(f"Versions: {', '.join(sorted({run.version for run in runs}))}.")
    return "\n\n".join(parts)


def _title(conditions: Conditions) -> str:
    noise = f", noise {conditions.noise:g}" if conditions.noise else ""
    continued = "from scratch" if conditions.from_scratch else "at the difference"
    return (
        f"**{conditions.surface}{noise}, {conditions.n_workers} worker{'s' if conditions.n_workers > 1 else ''}, "
        f"{conditions.budget_epochs} epochs; continued trainings paid {continued}**"
    )


def _regret_table(runs: Sequence[Run], regrets: _Regrets, budgets: Sequence[int]) -> str:
    """One line a method: mean normalized regret x100, and the mean rank over the pairs that all have."""
    common = set.intersection(*(set(pairs) for pairs in regrets.values()))
    ranks = _mean_ranks(regrets, common)
    lines = header("method", "runs", *(f"regret at {budget} (rank)" for budget in budgets), "ms a suggestion")
    for method in sorted(regrets, key=lambda each: _mean(regrets[each].values())[-1]):
        means = _mean(regrets[method].values())
        cells = [
            f"{mean:.1f}" + (f" ({ranks[method][index]:.1f})" if common else "") for index, mean in enumerate(means)
        ]
        own = [run for run in runs if run.setting.method == method]
        ms = sum(run.suggestion_ms * run.n_suggestions for run in own) / sum(run.n_suggestions for run in own)
        lines.append(line(method, str(len(own)), *cells, f"{ms:.3g}"))
    lines.append(f"\nRanks: mean over the {len(common)} pairs of instance and seed that all methods have.")
    return "\n".join(lines)


def _mean_ranks(regrets: _Regrets, common: Iterable[_Pair]) -> dict[str, NDArray[np.float64]]:
    ranks = [rankdata([pairs[pair] for pairs in regrets.values()], axis=0) for pair in common]
    return dict(zip(regrets, np.mean(ranks, axis=0), strict=True)) if ranks else {}


def _against(regrets: _Regrets, budgets: Sequence[int]) -> str:
    """Our mean regret and the other's over the pairs that both have, with the two-sided test's p."""
    lines = header("zeroin against", "pairs", *(f"at {budget}" for budget in budgets))
    n_pairs = len(regrets[OURS])
    bests = np.full(len(budgets), np.inf)
    for method in sorted(set(regrets) - {OURS}, key=lambda each: (is_ours(each), each)):
        pairs = sorted(set(regrets[OURS]) & set(regrets[method]))
        if not pairs:
            continue
        ours = np.array([regrets[OURS][pair] for pair in pairs])
        theirs = np.array([regrets[method][pair] for pair in pairs])
        cells = [
            f"{mine:.1f} : {other:.1f}, p = {p_value(ours[:, index] - theirs[:, index]):.2g}"
            for index, (mine, other) in enumerate(zip(ours.mean(0), theirs.mean(0), strict=True))
        ]
        lines.append(line(method, str(len(pairs)), *cells))
        if not is_ours(method) and len(pairs) == n_pairs:
            bests = np.minimum(bests, theirs.mean(0))
    if np.isfinite(bests).all():
        ratios = _mean(regrets[OURS].values()) / bests
        lines.append(line("*ratio to the best peer*", str(n_pairs), *(f"{ratio:.2f}" for ratio in ratios)))
    return "\n".join(lines)


def _mean(values: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean(list(values), axis=0)
    return mean
