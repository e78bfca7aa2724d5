"""Is the risk of the pruner `forecast` what it says? What it would have stopped, in searches in which nothing stops.

    python benchmarks/forecast_risk.py --noise 0.01
    python benchmarks/forecast_risk.py --data DIR --seeds 2

Studies of zeroin's starter plan run without pruning on LCBench's curves or on the synthetic surface (see
docs/search_quality.md). Their trials are shown to the pruner once more, epoch by epoch, in their order; of what it
would have stopped it is known how it went on. `allowed`: the sum of the risks that were taken; `claimed`: of the
chances that the reasons name; `lost`: trials that were the best at their ends after all; `saved`: share of all epochs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from epoch_meter import EpochMeter
from lcbench_surface import LCBenchSurface, lcbench_instances
from quality_surface import Surface, draw_seed
from surface_trials import OBJECTIVE, declared_space, finished_trial
from synthetic_surface import SyntheticSurface
from zeroin_method import MeteredTrainings, run_session, study_definition, variant

from search.messages import TrialAssignment
from search.pruner_settings import PrunerSettings
from search.pruning import named_pruner
from search.search_space import SearchSpace
from search.trial import TrialRecord, TrialState

_FIGURES = re.compile(r"has a chance of (\S+) not to end .*; the risk is (\S+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One that would have been stopped: among how many others, its risk and chance, and whether it won in the end."""

    n_others: int
    risk: float
    chance: float
    has_won: bool
    n_saved: int


def trials(surface: Surface, *, budget_epochs: int, seed: int) -> list[TrialRecord]:
    """Return the trials of a search without pruning, in their order; what the budget has cut off is left out."""
    definition = study_definition(variant("zeroin-no-pruning"), surface, budget_epochs=budget_epochs, seed=seed)
    trainings = MeteredTrainings(EpochMeter(surface=surface, budget_epochs=budget_epochs))
    values: dict[int, list[float]] = {}
    records: dict[int, TrialRecord] = {}

    def metrics(assignment: TrialAssignment, epoch: int) -> Mapping[str, float]:
        found = trainings(assignment, epoch)
        number = int(assignment.trial_key.rpartition("-")[2])
        values.setdefault(number, []).append(found[OBJECTIVE.monitor])
        if epoch == assignment.n_epochs:
            point = {name: assignment.assembly.model_args[name] for name in declared_space(surface).names}
            trial = finished_trial(point, values[number], number=number, stage=0, horizon_epochs=surface.n_epochs)
            records[number] = trial.record
        return found

    run_session(definition, metrics, n_workers=1)
    return [records[number] for number in sorted(records)]


def stops(records: Sequence[TrialRecord], settings: PrunerSettings, space: SearchSpace) -> Iterator[Stop]:
    """Yield what would have been stopped, each trial once at most."""
    pruner = named_pruner(settings, objective=OBJECTIVE, space=space)
    best = -float("inf")
    for n_others, record in enumerate(records):
        final = max(record.curve(OBJECTIVE.monitor))
        for epoch in range(1, record.n_epochs):
            running = replace(record, epochs=record.epochs[:epoch], state=TrialState.RUNNING, finished_ms=None)
            figures = _FIGURES.search(pruner.prune_reason(running))
            if figures:
                yield Stop(
                    n_others=n_others,
                    risk=float(figures[2]),
                    chance=float(figures[1]),
                    has_won=final > best,
                    n_saved=record.n_epochs - epoch,
                )
                break
        pruner.learn(record)
        best = max(best, final)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="LCBench's learning curves, instead of the formula's")
    parser.add_argument("--noise", type=float, default=0.0, help="of the formula's epochs, in accuracy")
    parser.add_argument("--instances", nargs="+", metavar="NAME", help="all of the data, or 0 to 9 by default")
    parser.add_argument("--seeds", type=int, default=1, help="searches on each instance")
    parser.add_argument("--budget", type=int, default=50, metavar="N", help="of a search, in full trainings")
    options = parser.parse_args(arguments)
    names = options.instances or list(lcbench_instances(options.data) if options.data else map(str, range(10)))
    found: list[Stop] = []
    n_trials = n_epochs = 0
    for name in names:
        surface = LCBenchSurface(options.data, name) if options.data else SyntheticSurface(name, noise=options.noise)
        for seed in range(options.seeds):
            budget = options.budget * surface.n_epochs
            records = trials(surface, budget_epochs=budget, seed=draw_seed(name, seed))
            settings = study_definition(variant("zeroin"), surface, budget_epochs=budget, seed=0).pruner
            found += stops(records, settings, declared_space(surface))
            n_trials, n_epochs = n_trials + len(records), n_epochs + sum(each.n_epochs for each in records)
    print(f"{len(names) * options.seeds} searches, {n_trials} trials\n")
    print("| others | stopped | allowed | claimed | lost | saved |\n|---|---|---|---|---|---|")
    for words, own in (
        ("up to 25", [each for each in found if each.n_others <= 25]),
        ("more", [each for each in found if each.n_others > 25]),
    ):
        print(
            f"| {words} | {len(own)} | {sum(each.risk for each in own):.1f} | {sum(each.chance for each in own):.1f} "
            f"| {sum(each.has_won for each in own)} | {100.0 * sum(each.n_saved for each in own) / n_epochs:.0f} % |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
