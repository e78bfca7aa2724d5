"""Does narrowing earn its place? The same staged searches with each rule and without, paired.

    python benchmarks/narrowing.py --output runs.jsonl
    python benchmarks/narrowing.py --regimes lcbench --data DIR --output runs.jsonl
    python benchmarks/narrowing.py --table runs.jsonl more.jsonl

The regimes of the synthetic surface, whose optimum is known, are `wide` (six decades), `off_centre` (eight decades, the
optimum near an end) and `tight` (a decade); `lcbench` are real learning curves (see docs/search_quality.md). Regret is
normalized: what the best value observed lacks to the best known one, in what the median of random full trainings in
the declared ranges lacks, x 100; on a noisy surface the incumbent is judged without the noise. Differences are
paired by instance. `cut off`: the optimum lay outside the last stage's ranges; `ever`: outside those of some stage;
`undone`: share of the latter whose optimum was inside again in the last stage; `width`: of the last ranges, in
declared widths. The rule `oracle:0.5` draws ranges of half the declared widths round the optimum as soon as the real
rules might narrow: what it gains is what ranges of that width are worth to who knows where to draw them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lcbench_surface import LCBENCH, lcbench_instances
from narrowing_report import report
from narrowing_runs import PLANS, UNTIL_SPENT, Conditions, Search, Setting, make_search, narrow_rule
from oracle_ranges import oracle_share
from quality_surface import SurfaceError
from ranged_surface import REGIMES
from recorded_runs import add_file_options, add_seed_options, at_least_one, chosen_seeds, run_command

from search.narrowing import RULE_NAMES
from search.sampling import SAMPLER_NAMES

_N_EPOCHS = {"starter": 52, "long": 52, "short": 24}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(options, Search, settings=_settings, make=partial(make_search, data=options.data), report=report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", nargs="+", choices=(*REGIMES, LCBENCH), default=list(REGIMES))
    parser.add_argument("--data", type=Path, metavar="DIR", help="LCBench's learning curves")
    parser.add_argument(
        "--rules", nargs="+", default=list(RULE_NAMES), metavar="RULE", help="posterior:0.8, oracle:0.5 too"
    )
    parser.add_argument("--outside", nargs="+", type=float, default=[0.0], metavar="SHARE", help="but for rule none")
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.02], help="of each epoch, in accuracy")
    parser.add_argument("--plans", nargs="+", choices=tuple(PLANS), default=list(PLANS))
    parser.add_argument("--samplers", nargs="+", choices=SAMPLER_NAMES, default=["tpe"])
    parser.add_argument("--instances", nargs="+", metavar="NAME", help="of LCBench or synthetic, 0 to 39 by default")
    add_seed_options(parser, n_seeds=1, of_what="each instance")
    parser.add_argument("--epochs", type=at_least_one, help="of a full synthetic training: 52, or 24 in the short plan")
    parser.add_argument(
        "--full-trainings", type=at_least_one, default=25, help="what a search may cost whose plan has no end"
    )
    add_file_options(parser)
    return parser


def _settings(options: argparse.Namespace) -> list[Setting]:
    for rule in options.rules:
        if oracle_share(rule) is None:
            narrow_rule(rule, outside_share=0.0)
        elif LCBENCH in options.regimes:
            raise SurfaceError(f"{rule!r} must know the optimum, but nobody knows that of LCBench.")
    return [
        Setting(conditions=conditions, rule=rule, outside_share=share, instance=instance, seed=seed)
        for conditions in _conditions(options)
        for rule in options.rules
        for share in ([0.0] if rule == "none" else options.outside)
        for instance in _instances(options, conditions.regime)
        for seed in chosen_seeds(options)
    ]


def _conditions(options: argparse.Namespace) -> list[Conditions]:
    made = []
    for regime in options.regimes:
        for plan in options.plans:
            n_epochs = _N_EPOCHS["long"] if regime == LCBENCH else options.epochs or _N_EPOCHS[plan]
            cost = sum(n_trials * max(1, round(share * n_epochs)) for n_trials, share in PLANS["short"])
            budget = options.full_trainings * n_epochs if PLANS[plan][-1][0] == UNTIL_SPENT else cost
            for noise in [0.0] if regime == LCBENCH else options.noise:
                made += [
                    Conditions(
                        regime=regime, noise=noise, plan=plan, n_epochs=n_epochs, budget_epochs=budget, sampler=sampler
                    )
                    for sampler in options.samplers
                ]
    return made


def _instances(options: argparse.Namespace, regime: str) -> list[str]:
    known = lcbench_instances(options.data) if regime == LCBENCH else map(str, range(40))
    return list(options.instances or known)


if __name__ == "__main__":
    sys.exit(main())
