"""How often an edge of a range counts as crowded, by where the optimum lies: at a stage border and in the last verdict.

    python benchmarks/edge_errors.py

Trials are random points of three dimensions, of which the first matters much, the second little and the third not at
all. The first one's optimum lies at a share of its range, at the upper limit or beyond from 1 on. Rewards fall from it
by the distance in widths (`peak`) or by 1.5 times its square (`bowl`), with normal noise.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping

from search.comparable_rewards import Observation
from search.narrowing import crowded_edges, narrow
from search.search_space import Dimension, LinearRange, SearchSpace
from search.study_definition import Direction, NarrowRule

UNIT = LinearRange(low=0.0, high=1.0)
SPACE = SearchSpace(dimensions=tuple(Dimension(name=name, range=UNIT, limits=UNIT) for name in ("x", "weak", "idle")))
SHAPES: Mapping[str, Callable[[float], float]] = {
    "peak": abs,
    "bowl": lambda distance: 1.5 * distance**2,
}


def trials(shape: str, *, optimum: float, noise: float, n: int, seed: int) -> list[Observation]:
    """Return finished trials of one stage.

    Args:
        shape: One of `SHAPES`.
        optimum: Of `x`, in widths of its range from the lower end.
        noise: Standard deviation of a reward, >= 0.
        n: How many.
        seed: Of the points and of the noise.
    """
    rng = random.Random(seed)
    found = []
    for number in range(n):
        point = SPACE.from_units({name: rng.random() for name in SPACE.names})
        lost = SHAPES[shape](float(point["x"]) - optimum) + 0.3 * (float(point["weak"]) - 0.5) ** 2
        reward = rng.gauss(0.0, noise) - lost
        found.append(Observation(number=number, stage="coarse", hyperparameters=point, reward=reward))
    return found


def is_cut_off(known: list[Observation]) -> bool:
    """Whether the upper end of `x` counts as cut off at a stage border."""
    found = narrow(known, SPACE, direction=Direction.MAXIMIZE, rule=NarrowRule(rule="quantile_box"))
    return found.decisions[0].cut_off


def is_accused(known: list[Observation]) -> bool:
    """Whether the last verdict names an end of `x`."""
    return any(each.name == "x" for each in crowded_edges(known, SPACE, direction=Direction.MAXIMIZE))


def main() -> None:
    """Print a table for each shape and noise: `border / verdict` in percent of the studies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["peak", "bowl"])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.05, 0.2])
    parser.add_argument("--optima", nargs="+", type=float, default=[0.75, 0.8, 0.85, 0.9, 1.0, 1.2])
    parser.add_argument("--trials", nargs="+", type=int, default=[24, 60, 150, 400])
    parser.add_argument("--studies", type=int, default=20)
    options = parser.parse_args()
    for shape in options.shapes:
        for noise in options.noise:
            print(f"\n{shape}, noise {noise:g}, border / verdict in % of {options.studies} studies\n")
            print(f"| optimum at | {' | '.join(f'{n} trials' for n in options.trials)} |")
            print(f"|---|{'---|' * len(options.trials)}")
            for optimum in options.optima:
                cells = []
                for n in options.trials:
                    studies = [
                        trials(shape, optimum=optimum, noise=noise, n=n, seed=seed) for seed in range(options.studies)
                    ]
                    shares = [100.0 * sum(map(test, studies)) / len(studies) for test in (is_cut_off, is_accused)]
                    cells.append(" / ".join(f"{share:.0f}" for share in shares))
                print(f"| {optimum:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
