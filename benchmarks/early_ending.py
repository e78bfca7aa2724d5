"""What ending early saves and what it loses, on the synthetic surface whose optimum is known.

Each study has the plan of `search_quality`: 8 trials of a quarter of the epochs, then full trainings, here by
`mixed` unless another sampler is asked for, and without pruning. It is run to its planned end, and the rule is
asked after each full training, as the coordinator asks it: the study up to where it would have ended is the same study.
Prints a table of means over seeds.

    python benchmarks/early_ending.py --noise 0.01 0.03 --seeds 20
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from surface_trials import OBJECTIVE, declared_space, finished_trial, surface_point
from synthetic_surface import SyntheticSurface
from table_cells import header, line

from search.comparable_rewards import ComparableRewards
from search.early_ending import end_reason
from search.sampling import propose
from search.sampling.outlook import outlook
from search.seeds import derived_seed
from search.study_definition import EndEarly
from search.study_record import Outlook

_N_COARSE, _COARSE_SHARE = 8, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A full training: epochs of the study up to its end, the true regret of the best so far, and the outlook."""

    n_spent: int
    regret: float
    outlook: Outlook | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Where a study ends by the rule, and where it would have ended without: epochs and regrets, and its trials."""

    n_epochs: tuple[int, int]
    regrets: tuple[float, float]
    n_trials: int


def study(
    *, noise: float, seed: int, n_full: int, n_epochs: int, sampler: str, probability: float, min_trials: int = 1
) -> list[Trained]:
    """Run a study to its planned end; regret is in accuracy, of the trial that looks best."""
    surface = SyntheticSurface(f"synthetic-{seed}", noise=noise, n_epochs=n_epochs)
    space, rewards = declared_space(surface), ComparableRewards(OBJECTIVE)
    best_shown, regret, n_spent = -1.0, 1.0, 0
    top = max(surface.true_curve(surface.optimum))
    trained = []
    for number in range(_N_COARSE + n_full):
        stage = int(number >= _N_COARSE)
        point = propose(
            box=space,
            sampler=sampler if stage else "qmc",
            direction=OBJECTIVE.direction,
            observations=rewards.observations(),
            running=(),
            stage=str(stage),
            stage_seed=derived_seed(seed, "stage", stage),
            trial_seed=derived_seed(seed, "sampling", number),
            index_in_stage=number - stage * _N_COARSE,
            target_epochs=n_epochs,
        )
        values = surface.curve(surface_point(point))[: n_epochs if stage else round(_COARSE_SHARE * n_epochs)]
        n_spent += len(values)
        rewards.add(finished_trial(point, values, number=number, stage=stage, horizon_epochs=n_epochs))
        if not stage:
            continue
        if max(values) > best_shown:
            best_shown, regret = max(values), top - max(surface.true_curve(surface_point(point)))
        found = None
        if number + 1 >= min_trials:
            found = outlook(
                rewards.observations(),
                box=space,
                direction=OBJECTIVE.direction,
                max_epochs=n_epochs,
                probability=probability,
                seed=derived_seed(seed, "outlook", number + 1),
            )
        trained.append(Trained(n_spent=n_spent, regret=regret, outlook=found))
    return trained


def ending(trained: Sequence[Trained], settings: EndEarly) -> Ending:
    """Return where a study ends by the rule."""
    skipped = max(0, settings.min_trials - _N_COARSE - 1)
    n = next(
        (
            index
            for index in range(skipped + 1, len(trained) + 1)
            if end_reason([each.outlook for each in trained[skipped:index]], settings, n_left=len(trained) - index)
        ),
        len(trained),
    )
    return Ending(
        n_epochs=(trained[n - 1].n_spent, trained[-1].n_spent),
        regrets=(trained[n - 1].regret, trained[-1].regret),
        n_trials=_N_COARSE + n,
    )


def main() -> None:
    """Run the studies and print the table."""
    defaults = EndEarly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.01, 0.03])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--full-trainings", type=int, default=42)
    parser.add_argument("--epochs", type=int, default=24, help="of a full training")
    parser.add_argument("--sampler", default="mixed")
    parser.add_argument("--probability", type=float, default=defaults.probability)
    parser.add_argument("--patience", type=int, nargs="+", default=[defaults.patience_trials])
    parser.add_argument("--min-trials", type=int, nargs="+", default=[defaults.min_trials])
    given = parser.parse_args()
    heads = ("noise", "patience", "min trials", "ended early", "trials", "epochs saved", "regret at the end", "without")
    print("\n".join(header(*heads)))
    for noise in given.noise:
        studies = [
            study(
                noise=noise,
                seed=seed,
                n_full=given.full_trainings,
                n_epochs=given.epochs,
                sampler=given.sampler,
                probability=given.probability,
                min_trials=min(given.min_trials),
            )
            for seed in range(given.seeds)
        ]
        for patience in given.patience:
            for min_trials in given.min_trials:
                settings = EndEarly(probability=given.probability, patience_trials=patience, min_trials=min_trials)
                print(_row(noise, settings, [ending(each, settings) for each in studies]), flush=True)


def _row(noise: float, settings: EndEarly, endings: Sequence[Ending]) -> str:
    early = sum(each.n_epochs[0] < each.n_epochs[1] for each in endings)
    saved = 1.0 - sum(each.n_epochs[0] for each in endings) / sum(each.n_epochs[1] for each in endings)
    regrets = [
        f"{statistics.fmean(column):.4f} (median {statistics.median(column):.4f}, worst {max(column):.4f})"
        for column in zip(*(each.regrets for each in endings), strict=True)
    ]
    trials = statistics.fmean(each.n_trials for each in endings)
    early_share = f"{early} of {len(endings)}"
    settled = (str(noise), str(settings.patience_trials), str(settings.min_trials))
    return line(*settled, early_share, f"{trials:.0f}", f"{100.0 * saved:.0f} %", *regrets)


if __name__ == "__main__":
    main()
