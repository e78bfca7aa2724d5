"""Measure what a study gains from what it is told beforehand, and what it loses if that misleads.

    python benchmarks/warm_start.py --first-seed 40 --seeds 40 --processes 2

Each seed is a surface of its own (see synthetic_surface.py) and a search of its own, with the stages of
search_quality.py; the same for every variant, so that differences are paired. Regret is normalized: what the best value
observed so far lacks to the best possible one, in what the median of random trainings of full length lacks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from epoch_meter import EpochMeter
from numpy.typing import NDArray
from past_variants import BASELINE, VARIANTS, told
from quality_surface import draw_seed
from recorded_runs import add_seed_options, chosen_seeds
from synthetic_surface import SyntheticSurface
from table_cells import header, line, p_value
from zeroin_method import run_definition, study_definition, variant

from search.study_file import definition_from_plain, definition_to_plain

_N_EPOCHS = 52


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all runs have in common.

    Attributes:
        sampler: Of all stages after the first.
        noise: Standard deviation of each epoch's accuracy.
        n_past: Trainings of the earlier study.
        budgets: Epochs at which regret is told, ascending; a run ends at the last.
    """

    sampler: str
    noise: float
    n_past: int
    budgets: tuple[int, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    conditions = Conditions(
        sampler=options.sampler, noise=options.noise, n_past=options.past, budgets=tuple(sorted(options.budgets))
    )
    names = [BASELINE, *(name for name in options.variants if name != BASELINE)]
    seeds = chosen_seeds(options)
    jobs = [(name, seed) for name in names for seed in seeds]
    with ExitStack() as stack:
        each = map
        if options.processes > 1:
            each = stack.enter_context(ProcessPoolExecutor(options.processes, mp_context=get_context("spawn"))).map
        found = list(each(partial(regrets, conditions), *zip(*jobs, strict=True)))
    by_name = {name: np.array(found[index * len(seeds) : (index + 1) * len(seeds)]) for index, name in enumerate(names)}
    print(table(by_name, conditions))
    return 0


def regrets(conditions: Conditions, name: str, seed: int) -> list[float]:
    """Return the regret x 100 of one run at each budget."""
    instance = str(seed)
    surface = SyntheticSurface(instance, noise=conditions.noise, n_epochs=_N_EPOCHS)
    meter = EpochMeter(surface=surface, budget_epochs=conditions.budgets[-1])
    sampler = variant(f"zeroin-{conditions.sampler}")
    study = study_definition(sampler, surface, budget_epochs=meter.budget_epochs, seed=draw_seed(instance, 0))
    with tempfile.TemporaryDirectory() as directory:
        plain = told(
            name,
            definition_to_plain(study),
            instance=instance,
            noise=conditions.noise,
            n_past=conditions.n_past,
            directory=Path(directory),
        )
        run_definition(definition_from_plain(plain), meter, n_workers=1)
    return [100.0 * meter.regret_after(budget) for budget in conditions.budgets]


def table(by_name: dict[str, NDArray[np.float64]], conditions: Conditions) -> str:
    """Return the mean regrets in Markdown, and how they differ from those of a study that is told nothing.

    Args:
        by_name: Regrets, shape ``(n_seeds, n_budgets)``, by variant.
        conditions: Of the runs.
    """
    heads = [head for budget in conditions.budgets for head in (f"regret at {budget}", "less than nothing")]
    lines = header("told", *heads)
    for name, values in by_name.items():
        cells = [name]
        for index in range(len(conditions.budgets)):
            cells.append(f"{values[:, index].mean():.1f}")
            cells.append("" if name == BASELINE else _difference(by_name[BASELINE][:, index] - values[:, index]))
        lines.append(line(*cells))
    return "\n".join(lines)


def _difference(gains: NDArray[np.float64]) -> str:
    """Return the mean gain with its standard error, and p of Wilcoxon's signed-rank test (two-sided)."""
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
    return f"{gains.mean():+.1f} ± {error:.1f}, p = {p_value(gains):.2g}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    add_seed_options(parser, n_seeds=20, of_what="each variant, each a surface and a search of its own")
    parser.add_argument("--sampler", default="mixed", help="of all stages after the first")
    parser.add_argument("--noise", type=float, default=0.01, help="of each epoch's accuracy")
    parser.add_argument("--past", type=int, default=60, help="trainings of the earlier study")
    parser.add_argument("--budgets", type=int, nargs="+", default=[130, 260, 520], metavar="EPOCHS")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
