"""Draw how the ranges of a study narrowed, and what every rule would have made of the same trials.

    zeroin run digits --set stages.coarse.n_trials=48
    python benchmarks/narrowing_picture.py digits --output docs/images

Writes STUDY-ranges.png (trials and ranges of each stage) and STUDY-rules.png (all rules on the first stage's trials,
of which there must be 12 or more; the study's own rule with its own settings).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from search.comparable_rewards import Observation, comparable_observations
from search.errors import SearchError
from search.narrowing import RULE_NAMES, narrow
from search.range_text import number_text
from search.search_space import Choices, Dimension, SearchSpace, Value
from search.studies_api.reading import read_study
from search.study_definition import NarrowRule
from search.study_record import StudyRecord

_COLORS = ("#9aa5b1", "#2f7fb8", "#d1602a", "#3b8f4e", "#8254a8")
_COLUMNS, _PANEL_INCHES = 3, (4.2, 2.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        record = read_study(options.study)
    except SearchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    options.output.mkdir(parents=True, exist_ok=True)
    for name, draw in (("ranges", _draw_stages), ("rules", _draw_rules)):
        file = options.output / f"{options.study}-{name}.png"
        _saved(record, draw, file)
        print(file)
    return 0


def _saved(record: StudyRecord, draw: Any, file: Path) -> None:
    space = record.definition.space
    n_rows = -(-len(space) // _COLUMNS)
    size = (_COLUMNS * _PANEL_INCHES[0], n_rows * _PANEL_INCHES[1] + 0.6)
    figure, axes = plt.subplots(n_rows, _COLUMNS, figsize=size, sharey=True)
    panels = list(axes.flat)
    for panel in panels[len(space) :]:
        panel.set_visible(False)
    finished = [trial for trial in record.trials if trial.record.state.is_finished]
    observations = comparable_observations(finished, objective=record.definition.objective)
    draw(record, observations, dict(zip(space.names, panels, strict=False)))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
    figure.supylabel("comparable reward", fontsize=10)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / size[1]))
    figure.savefig(file, dpi=90)
    plt.close(figure)


def _draw_stages(record: StudyRecord, observations: Sequence[Observation], panels: dict[str, Any]) -> None:
    boxes = [(opening.name, opening.narrowed.space) for opening in record.openings]
    span = _span(observations)
    for name, panel in panels.items():
        for (stage, _), color in zip(boxes, _COLORS, strict=False):
            _scatter(panel, record.definition.space[name], observations, stage=stage, color=color)
        _bars(panel, name, boxes, record, span=span)


def _draw_rules(record: StudyRecord, observations: Sequence[Observation], panels: dict[str, Any]) -> None:
    definition, first = record.definition, record.openings[0].name
    known = [each for each in observations if each.stage == first]
    span = _span(known)
    rules = {rule: NarrowRule(rule=rule) for rule in RULE_NAMES if rule != "none"}
    own = definition.stages[-1].narrow
    rules |= {own.rule: own} if own.rule in rules else {}
    boxes = [
        (name, narrow(known, definition.space, direction=definition.objective.direction, rule=rule))
        for name, rule in rules.items()
    ]
    for name, panel in panels.items():
        _scatter(panel, definition.space[name], known, stage=first, color=_COLORS[0])
        _bars(
            panel,
            name,
            [("declared", definition.space), *((rule, box.space) for rule, box in boxes)],
            record,
            span=span,
        )


def _scatter(panel: Any, dimension: Dimension, observations: Sequence[Observation], *, stage: str, color: str) -> None:
    trials = [
        each
        for each in observations
        if each.stage == stage and dimension.name in each.hyperparameters and not each.diverged
    ]
    where = [_position(each.hyperparameters[dimension.name], dimension) for each in trials]
    panel.scatter(where, [each.reward for each in trials], s=12, color=color, alpha=0.8, linewidths=0)


def _position(value: Value, dimension: Dimension) -> float:
    """Return where a value lies on the panel: its unit coordinate in the limits, the extra zero left of them."""
    if isinstance(dimension.limits, Choices):
        return float(dimension.limits.values.index(value))
    if dimension.zero_share > 0.0 and value == 0:
        return -0.06
    limits = dimension.limits
    return (limits.scale(float(value)) - limits.scale(limits.low)) / (
        limits.scale(limits.high) - limits.scale(limits.low)
    )


def _span(observations: Sequence[Observation]) -> tuple[float, float]:
    rewards = [each.reward for each in observations if not each.diverged]
    return min(rewards), max(rewards)


def _bars(
    panel: Any,
    name: str,
    boxes: Sequence[tuple[str, SearchSpace]],
    record: StudyRecord,
    *,
    span: tuple[float, float],
) -> None:
    dimension, (bottom, top) = record.definition.space[name], span
    step = 0.07 * (top - bottom)
    for index, ((label, box), color) in enumerate(zip(boxes, _COLORS, strict=False)):
        height = bottom - (index + 1) * step
        range_ = box[name].range
        if isinstance(range_, Choices):
            places = [_position(value, dimension) for value in range_.values]
            panel.scatter(places, [height] * len(places), marker="s", s=30, color=color, label=label)
        else:
            ends = [_position(bound, dimension) for bound in (range_.low, range_.high)]
            panel.plot(ends, [height] * 2, color=color, linewidth=5, solid_capstyle="butt", label=label)
    panel.set_ylim(bottom - (len(boxes) + 1) * step, top + step)
    panel.set_title(name, fontsize=10)
    _ticks(panel, dimension)


def _ticks(panel: Any, dimension: Dimension) -> None:
    if isinstance(dimension.limits, Choices):
        panel.set_xticks(range(len(dimension.limits.values)), [str(value) for value in dimension.limits.values])
        panel.set_xlim(-0.5, len(dimension.limits.values) - 0.5)
        return
    limits = dimension.limits
    low, high = limits.scale(limits.low), limits.scale(limits.high)
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    panel.set_xticks(shares, [number_text(limits.unscale(low + share * (high - low)), limits) for share in shares])
    panel.set_xlim(-0.1, 1.05)


if __name__ == "__main__":
    sys.exit(main())
