"""What `zeroin run --dry-run` says: the plan of a study, and whether its classes can carry it out."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.budget import stage_quotas
from search.budget_words import budget_words
from search.cli import figures
from search.cli.console import heading, indented, pairs, plain_table, stores, unbroken
from search.range_text import range_text
from search.search_space import Dimension
from search.study_definition import Budget, FinishSettings, StudyDefinition
from search.study_record import StudyState
from search.study_views import StudyPreview


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
        indented(Text(f"at most {_epochs_at_most(definition):,} epochs in all; {_savings(definition)} save some")),
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
    for index, stage in enumerate(definition.stages):
        ranges = "as declared" if index == 0 or stage.narrow.rule == "none" else f"narrowed ({stage.narrow.rule})"
        total = stage.n_trials * stage.max_epochs
        figures_of = (str(stage.n_trials), str(stage.max_epochs), f"{total:,}")
        table.add_row(stage.name, *figures_of, stage.sampler, ranges, *([str(stage.promote)] if promotes else []))
    finish, n_epochs = definition.finish, definition.stages[-1].max_epochs
    if finish is not None:
        for name, n_runs, what in _finish_rounds(finish):
            table.add_row(name, f"<= {n_runs}", str(n_epochs), f"{n_runs * n_epochs:,}", "", what)
    return table


def _budget(definition: StudyDefinition) -> list[RenderableType]:
    """Return the budget, and how it shares its trials among the stages if it has fewer than are planned."""
    if definition.budget == Budget():
        return []
    lines = [f"budget: {budget_words(definition.budget)}"]
    quotas = stage_quotas(definition.budget, definition.stages, first_trial_number=0)
    if sum(quotas) < definition.n_trials:
        shared = ", ".join(f"{stage.name} {n}" for stage, n in zip(definition.stages, quotas, strict=True))
        lines.append(f"its trials are shared: {shared}")
    return [indented(Text(line)) for line in lines]


def _early_end(definition: StudyDefinition) -> list[RenderableType]:
    """Return when the search may end before all its trials, if it may."""
    settings = definition.end_early
    if settings is None:
        return []
    counts = "the noise between seeds" if settings.gain_below == "noise" else figures.number(settings.gain_below)
    line = f"ends early, after {settings.min_trials} trials at the least, when further ones cannot gain {counts}"
    return [indented(Text(line))]


def _space_table(definition: StudyDefinition) -> Table:
    table = plain_table([("hyperparameter", "left"), ("range", "left"), ("only if", "left")])
    for dimension in definition.space:
        table.add_row(dimension.name, range_text(dimension), _conditions(dimension))
    return table


def _conditions(dimension: Dimension) -> str:
    return " and ".join(
        f"{condition.name} is {' | '.join(figures.setting(value) for value in condition.values)}"
        for condition in dimension.conditions
    )


def _finish_rounds(finish: FinishSettings) -> list[tuple[str, int, str]]:
    return [
        ("confirm", finish.top_k * finish.n_seeds, f"the best {finish.top_k}, {finish.n_seeds} seeds"),
        ("refit", finish.n_seeds, "the winner on train + validation"),
    ]


def _epochs_at_most(definition: StudyDefinition) -> int:
    searched = sum(stage.n_trials * stage.max_epochs for stage in definition.stages)
    if definition.finish is None:
        return searched
    n_runs = sum(n for _, n, _ in _finish_rounds(definition.finish))
    return searched + n_runs * definition.stages[-1].max_epochs
