"""What `zeroin run --dry-run` says: the plan of a study, and whether its classes can carry it out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.budget_words import as_many_words, budget_words
from search.cli import figures
from search.cli.console import heading, indented, pairs, plain_table, stores, unbroken
from search.range_text import prior_text, range_text
from search.search_space import Dimension
from search.stage_shares import epoch_parts, planned_epochs, stage_quotas
from search.study_definition import Budget, Ensemble, FinishSettings, SearchStage, StudyDefinition
from search.study_record import StudyState
from search.study_views import StudyPreview

_MAX_UNBROKEN_NAME = 40
"""Columns of a hyperparameter's name, half a narrow terminal, up to which none is broken."""


def plan_report(definition: StudyDefinition) -> RenderableType:
    """Return the plan of a study, from its definition alone."""
    objective = definition.objective
    constraints = ", ".join(each.text for each in objective.constraints)
    data = "the model's own loaders" if definition.data is None else definition.data.class_path
    parts: list[RenderableType] = [
        Text(f"Plan of study {definition.study}", style="bold"),
        indented(
            pairs(
                [
                    ("model", definition.model.class_path),
                    ("data", data),
                    ("objective", figures.reward_rule(objective)),
                    *([("besides", figures.further_objectives(objective))] if objective.further else []),
                    *([("constraints", constraints)] if constraints else []),
                ]
            )
        ),
        heading("Stages"),
        indented(_stages_table(definition)),
        indented(Text(_epochs_at_most(definition))),
        *_budget(definition),
        *_early_end(definition),
        heading("Search space"),
        indented(_space_table(definition)),
    ]
    return Group(*parts)


def preview_report(preview: StudyPreview) -> RenderableType:
    """Return what a run would do, what the inspection found and where things would go."""
    inspection = preview.inspection
    found: list[tuple[str, str | Text]] = [
        ("parameters", f"{inspection.n_parameters:,} trainable"),
        ("metrics", ", ".join(inspection.metrics) or "none logged"),
        ("workers", f"{preview.n_workers}{_more_workers(preview)}"),
    ]
    found.extend(("note", notice) for notice in inspection.notices)
    return Group(
        *_outcome(preview),
        heading("Inspection: one batch of training and validation went through"),
        indented(pairs(found)),
        heading("Where things would go (nothing has been created)"),
        stores(preview.storage, preview.tracking_uri, indent=2),
        unbroken(f"  trials    {preview.directory}", style="dim"),
    )


def _more_workers(preview: StudyPreview) -> str:
    return ", or more if a device's memory takes several trials" if preview.is_packed else ""


def _outcome(preview: StudyPreview) -> list[RenderableType]:
    """Return what a run would do, given the studies that there are."""
    name, another = preview.name, Text("--new would start another under a numbered name.")
    if any(edit.refusal for edit in preview.edits):
        title = heading(f"Study {name} exists with another definition: a run would be refused")
        return [title, *_edits(preview), indented(another)]
    if preview.state is StudyState.FINISHED and preview.edits and not preview.finish_has_begun:
        return [heading(f"Study {name} is finished: a run would take it up again"), *_edits(preview), indented(another)]
    if preview.state is StudyState.FINISHED:
        return [heading(f"Study {name} is finished: a run would print its result"), indented(another)]
    if preview.state is StudyState.RUNNING:
        return [heading(f"Study {name} is running: another run of it would be refused"), indented(another)]
    if preview.state is StudyState.UNFINISHED:
        changed = " with what has changed" if preview.edits else ""
        title = heading(f"Study {name} is unfinished: a run would go on with it{changed}")
        return [title, *_edits(preview), indented(another)]
    return [heading(f"A run would begin study {name}")]


def _edits(preview: StudyPreview) -> list[RenderableType]:
    return [
        indented(Text(f"{edit.line}{f' (refused: {edit.refusal})' if edit.refusal else ''}")) for edit in preview.edits
    ]


def _savings(definition: StudyDefinition) -> str:
    promotes = any(stage.promote for stage in definition.stages)
    return "pruning, early stopping and promotion" if promotes else "pruning and early stopping"


def _stages_table(definition: StudyDefinition) -> Table:
    titles = [("name", "left"), ("trials", "right"), ("epochs each", "right"), ("epochs", "right")]
    promotes = any(stage.promote for stage in definition.stages)
    promoted = [("continue others", "right")] if promotes else []
    table = plain_table([*titles, ("sampler", "left"), ("ranges", "left"), *promoted])
    for stage, ranges in zip(definition.stages, _ranges(definition), strict=True):
        figures_of = ("open", str(stage.max_epochs), "the rest")
        if stage.n_trials is not None:
            figures_of = (str(stage.n_trials), str(stage.max_epochs), f"{stage.n_trials * stage.max_epochs:,}")
        table.add_row(stage.name, *figures_of, stage.sampler, ranges, *([str(stage.promote)] if promotes else []))
    finish, n_epochs = definition.finish, definition.longest_epochs
    if finish is not None:
        for name, n_runs, what in _finish_rounds(finish):
            table.add_row(name, f"<= {n_runs}", str(n_epochs), f"{n_runs * n_epochs:,}", "", what)
    return table


def _ranges(definition: StudyDefinition) -> Iterator[str]:
    """Yield how each stage's ranges come about, as far as the plan tells."""
    from search.narrowing import trials_needed  # loads SciPy, for which the help of a command need not wait

    n_before, unchanged = 0, "as declared"
    for stage in definition.stages:
        if stage.narrow.rule == "none" or n_before == 0:
            yield unchanged
        elif n_before < trials_needed(stage.narrow, len(definition.space)):
            yield "as declared: too few trials"
        else:
            unchanged = "as before"
            yield f"narrowed ({stage.narrow.rule})"
        n_before += (stage.n_trials or 0) - stage.promote  # a trial and the one that continues it count once


def _budget(definition: StudyDefinition) -> list[RenderableType]:
    """Return the budget, and how it shares its trials and epochs among the stages unless all that is planned fits."""
    budget, stages, n_trials = definition.budget, definition.stages, definition.n_trials
    if budget == Budget():
        return []
    lines = [f"budget: {budget_words(budget)}"]
    if n_trials is None:
        lines.append(f"{stages[-1].name} has {as_many_words(budget)}")
    if budget.n_trials is not None and (n_trials is None or budget.n_trials < n_trials):
        lines.append(f"its trials are shared: {_shared(stages, _counted_quotas(definition))}")
    if budget.epochs is not None and (n_trials is None or budget.epochs < sum(planned_epochs(stages))):
        lines.append(f"its epochs are shared: {_shared(stages, epoch_parts(budget.epochs, stages))}")
    return [indented(Text(line)) for line in lines]


def _shared(stages: Sequence[SearchStage], parts: Sequence[int]) -> str:
    return ", ".join(f"{stage.name} {part:,}" for stage, part in zip(stages, parts, strict=True))


def _counted_quotas(definition: StudyDefinition) -> list[int]:
    """Return the trials of each stage as far as they are counted."""
    quotas = stage_quotas(definition.budget, definition.stages, first_trial_number=0)
    return [quota for quota in quotas if quota is not None]


def _epochs_planned(definition: StudyDefinition) -> int:
    """Return the epochs that the stages' trials have at most, as far as they are counted."""
    return sum(n * stage.max_epochs for n, stage in zip(_counted_quotas(definition), definition.stages, strict=False))


def _early_end(definition: StudyDefinition) -> list[RenderableType]:
    """Return when the search may end before all its trials, if it may."""
    settings = definition.end_early
    if settings is None:
        return []
    counts = "the noise between seeds" if settings.gain_below == "noise" else figures.number(settings.gain_below)
    line = f"ends early, after {settings.min_trials} trials at the least, when further ones cannot gain {counts}"
    return [indented(Text(line))]


def _space_table(definition: StudyDefinition) -> Table:
    has_priors = any(dimension.prior is not None for dimension in definition.space)
    prior = [("prior", "left")] if has_priors else []
    table = plain_table([("hyperparameter", "left"), ("range", "left"), *prior, ("only if", "left")])
    table.columns[0].no_wrap = max(map(len, definition.space.names)) <= _MAX_UNBROKEN_NAME
    for dimension in definition.space:
        expected = [prior_text(dimension)] if has_priors else []
        table.add_row(dimension.name, range_text(dimension), *expected, _conditions(dimension))
    return table


def _conditions(dimension: Dimension) -> str:
    return " and ".join(
        f"{condition.name} is {' | '.join(figures.setting(value) for value in condition.values)}"
        for condition in dimension.conditions
    )


def _finish_rounds(finish: FinishSettings) -> list[tuple[str, int, str]]:
    whom = f"the best {finish.top_k}" if finish.ensemble is Ensemble.TOP_K else "the winner"
    return [
        ("confirm", finish.top_k * finish.n_seeds, f"the best {finish.top_k}, {finish.n_seeds} seeds"),
        ("refit", finish.n_refits, f"{whom} on train + validation"),
    ]


def _epochs_at_most(definition: StudyDefinition) -> str:
    """Return how many epochs there are at most, and what saves some of them or gives them to further trials."""
    budget, finish, savings = definition.budget, definition.finish, _savings(definition)
    n_runs = 0 if finish is None else sum(n for _, n, _ in _finish_rounds(finish))
    n_finish = n_runs * definition.longest_epochs
    if len(_counted_quotas(definition)) == len(definition.stages):
        searched = min(_epochs_planned(definition), math.inf if budget.epochs is None else budget.epochs)
        return f"at most {searched + n_finish:,} epochs in all; {savings} save some"
    goes_on = f"what {savings} save goes to further trials"
    if budget.epochs is not None:
        return f"at most {budget.epochs + n_finish:,} epochs in all; {goes_on}"
    after = f", and at most {n_finish:,} in the finish" if n_finish else ""
    return f"as many epochs as the budget allows{after}; {goes_on}"
