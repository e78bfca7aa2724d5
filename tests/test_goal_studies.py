"""Studies with constraints and with several objectives, from the command line to Optuna and MLflow."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
import yaml
from goal_studies import BOUNDED, MEASURED, TWO_FOLD, engine, rising_gap, zeroin
from mlflow.entities import Run
from study_runs import run_session
from test_stage_overlap import UnevenEngine
from virtual_engine import Faults, KilledError, bell_curve

from search.cli.status import status_plain
from search.coordinator.assembly import assemble
from search.messages import TrialAssignment
from search.paths import StateDirectory
from search.recorded_best import pareto_trials
from search.studies_api import read_study
from search.study_file import definition_from_plain
from search.study_record import StudyRecord

FIRST = TWO_FOLD["objectives"][0]
Running = Callable[[dict[str, Any]], "Ran"]


@dataclass(frozen=True)
class Ran:
    """A study that the command line ran, and what its commands said of it."""

    home: Path
    name: str
    output: str
    best: str
    json: Any
    csv: list[dict[str, str]]
    trials: str
    status: str

    @property
    def state(self) -> StateDirectory:
        return StateDirectory(root=self.home)

    @property
    def record(self) -> StudyRecord:
        return read_study(self.name, directory=self.state)

    def optuna_study(self) -> optuna.Study:
        backend = optuna.storages.journal.JournalFileBackend(str(self.state.optuna_journal))
        return optuna.load_study(study_name=self.name, storage=optuna.storages.JournalStorage(backend))

    def runs(self) -> dict[str, Run]:
        """Runs of the trials by key, and the study's own by its name."""
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.state.mlflow_database}")
        experiment = client.get_experiment_by_name(self.name)
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], max_results=1000)
        return {run.data.tags.get("zeroin.trial", self.name): run for run in found}

    def artifact(self, name: str) -> Any:
        run = self.runs()[self.name]
        return json.loads((Path(run.info.artifact_uri.removeprefix("file://")) / name).read_text())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, copied_mlflow_database: Callable[[Path], Path]) -> Running:
    """Runs a study with virtual workers, and has the commands tell of it."""

    def run(plain: dict[str, Any]) -> Ran:
        name, home = plain["study"], tmp_path_factory.mktemp(plain["study"]) / "mlruns"
        copied_mlflow_database(home / "mlflow.db")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ZEROIN_HOME", str(home))
            patch.setenv("COLUMNS", "120")
            patch.chdir(home.parent)
            Path("study.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))

            def said(*arguments: str) -> str:
                with io.TextIOWrapper(io.BytesIO()) as stream, redirect_stdout(stream):
                    assert zeroin(patch, *arguments) == 0
                    stream.flush()
                    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined,no-any-return]

            return Ran(
                home=home,
                name=name,
                output=said("run", "study.yaml", "--plain"),
                best=said("best", name),
                json=json.loads(said("best", name, "--format", "json")),
                csv=list(csv.DictReader(io.StringIO(said("best", name, "--format", "csv")))),
                trials=said("trials", name),
                status=said("status", name),
            )

    return run


@pytest.fixture(scope="module")
def bounded(ran: Running) -> Ran:
    return ran(BOUNDED)


@pytest.fixture(scope="module")
def two_fold(ran: Running) -> Ran:
    return ran(TWO_FOLD)


def values(record: StudyRecord) -> dict[int, tuple[float, float]]:
    """Accuracy and gap of each search trial at its best epoch."""
    found = {}
    for trial in record.trials:
        assert trial.score is not None and trial.record.number is not None
        found[trial.record.number] = (trial.score.reward, trial.score.measured["gap_acc"])
    return found


# ---- constraints -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_winner_is_the_best_that_keeps_the_constraints(bounded: Ran) -> None:
    record = bounded.record
    assert record.result is not None
    reached = values(record)
    kept = {number: accuracy for number, (accuracy, gap) in reached.items() if gap <= 0.05}
    assert 0 < len(kept) < len(reached)
    assert max(accuracy for accuracy, _ in reached.values()) > max(kept.values())  # the best of all breaks one
    assert record.result.best_trial_number == max(kept, key=lambda number: kept[number])
    assert all(each.violation == 0.0 and each.measured["gap_acc"] <= 0.05 for each in record.result.confirmations)
    assert record.result.notices == ()


@pytest.mark.slow
def test_optuna_knows_which_trials_keep_the_constraints(bounded: Ran) -> None:
    record, theirs = bounded.record, bounded.optuna_study()
    assert record.result is not None
    assert theirs.best_trial.number == record.result.best_trial_number
    for trial, (_, gap) in zip(theirs.trials, values(record).values(), strict=True):
        assert trial.constraints["gap_acc <= 0.05"] == pytest.approx((gap - 0.05) / 0.05)
        assert trial.constraints["epoch_seconds <= 9"] < 0.0


@pytest.mark.slow
def test_mlflow_shows_which_trials_keep_the_constraints(bounded: Ran) -> None:
    runs = bounded.runs()
    for number, (_, gap) in values(bounded.record).items():
        run = runs[f"trial-{number:04d}"]
        assert run.data.tags["zeroin.feasible"] == str(gap <= 0.05).lower()
        assert (run.data.metrics["violation"] > 0.0) == (gap > 0.05)
        assert run.data.metrics["gap_acc_at_best"] == pytest.approx(gap)
        assert run.data.metrics["median_epoch_seconds"] in (2.5, 3.5)  # of two epochs, or of four
    assert "with `gap_acc <= 0.05`, `epoch_seconds <= 9`" in runs[bounded.name].data.tags["mlflow.note.content"]


@pytest.mark.slow
def test_the_commands_show_which_bounds_are_kept(bounded: Ran) -> None:
    assert bounded.json["feasible"] is True
    assert status_plain(bounded.record)["none_is_feasible"] is False
    assert bounded.json["measured"]["gap_acc"] <= 0.05
    (row,) = bounded.csv
    assert int(row["number"]) == bounded.json["number"]
    assert float(row["violation"]) == 0.0
    assert "gap_acc <= 0.05" in bounded.best and ", kept" in bounded.best
    assert "  yes  " in bounded.trials and "  no  " in bounded.trials
    assert "breaks constraints" in bounded.output
    for text in (bounded.best, bounded.output, bounded.status):
        assert "No trial keeps" not in text and "Pareto" not in text


@pytest.mark.slow
def test_a_promotion_goes_on_with_what_keeps_the_constraints(bounded: Ran) -> None:
    record = bounded.record
    reached = values(record)
    continued = [int(trial.record.continues.rpartition("-")[2]) for trial in record.trials if trial.record.continues]
    assert len(continued) == 2
    assert all(reached[number][1] <= 0.05 for number in continued)


@pytest.mark.slow
def test_where_none_keeps_the_constraints_it_is_said_plainly(ran: Running) -> None:
    stages, bounds = [{"name": "coarse", "n_trials": 4, "max_epochs": 1}], {"gap_acc": {"at_most": -0.5}}
    impossible = ran({**BOUNDED, "study": "impossible", "stages": stages, "constraints": bounds})
    record = impossible.record
    assert record.result is not None
    assert min(values(record), key=lambda number: values(record)[number][1]) == record.result.best_trial_number
    assert record.result.notices == ("no trial keeps all constraints (gap_acc <= -0.5); the best breaks them least.",)
    for text in (impossible.best, impossible.output, impossible.status):
        assert "No trial keeps all constraints; the best breaks them least." in text
    assert impossible.json["feasible"] is False
    assert status_plain(record)["none_is_feasible"] is True
    assert "**No trial keeps all constraints**" in impossible.runs()["impossible"].data.tags["mlflow.note.content"]
    with pytest.raises(ValueError, match="feasible"):
        _ = impossible.optuna_study().best_trial


@pytest.mark.parametrize(
    ("plain", "key", "entry", "hint"),
    [
        (
            {**BOUNDED, "constraints": {"gap_ac": {"at_most": 1}}},
            "constraints.gap_ac",
            "  gap_ac:",
            "Did you mean 'gap_acc'?",
        ),
        (
            {
                **TWO_FOLD,
                "objectives": [TWO_FOLD["objectives"][0], {"monitor": "epoch_second", "direction": "minimize"}],
            },
            "objectives.1.monitor",
            "- monitor: epoch_second",
            "Did you mean 'epoch_seconds'?",
        ),
    ],
)
def test_what_no_epoch_reports_is_refused_before_anything_is_made(
    plain: dict[str, Any],
    key: str,
    entry: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, home = tmp_path / "study.yaml", tmp_path / "mlruns"
    file.write_text(yaml.safe_dump(plain, sort_keys=False))
    monkeypatch.setenv("ZEROIN_HOME", str(home))
    for command in (["run", str(file)], ["run", str(file), "--dry-run"]):
        assert zeroin(monkeypatch, *command) == 2
        err = capsys.readouterr().err
        line = 1 + file.read_text().splitlines().index(entry)
        assert f"study.yaml:{line}: {key}: must be something that is measured, but got" in err
        assert hint in err
        assert not home.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_what_breaks_a_constraint_with_other_seeds_does_not_win(state: StateDirectory) -> None:
    """The best in the search was lucky with its gap; the second best keeps the bound with every seed."""
    lucky: list[str] = []

    def metrics(assignment: TrialAssignment, epoch: int) -> dict[str, float]:
        found = rising_gap(assignment, epoch)
        key = assignment.trial_key
        if key.startswith("confirm-"):
            lucky.extend([key.split("-")[1]] if not lucky else [])
            found["gap_acc"] = 0.2 if key.split("-")[1] == lucky[0] else 0.01
        return found

    stages = [{"name": "coarse", "n_trials": 8, "max_epochs": 2}]
    record = run_session(state, engine(metrics=metrics), definition_from_plain({**BOUNDED, "stages": stages}))
    assert record.result is not None
    first, second = record.result.confirmations
    assert (first.violation, second.violation) == (0.0, pytest.approx(3.0))
    assert first.mean < second.mean
    assert f"{second.trial_number:04d}" == lucky[0]
    assert record.result.best_trial_number == first.trial_number
    assert second.eliminated_after is None
    assert record.result.notices == ()


# ---- several objectives ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_front_is_the_same_everywhere(two_fold: Ran) -> None:
    record, theirs = two_fold.record, two_fold.optuna_study()
    continued = {trial.record.continues for trial in record.trials}
    front = [trial.record.number for trial in pareto_trials(record.trials, objective=record.definition.objective)]
    assert len(front) > 2
    assert sorted(front) == sorted(
        trial.number for trial in theirs.best_trials if f"trial-{trial.number:04d}" not in continued
    )
    assert [each["number"] for each in two_fold.json["front"]] == front
    assert [int(row["number"]) for row in two_fold.csv] == front
    assert [each["number"] for each in two_fold.artifact("pareto.json")] == front
    marked = [key for key, run in two_fold.runs().items() if run.data.tags.get("zeroin.pareto") == "true"]
    assert sorted(marked) == sorted(f"trial-{number:04d}" for number in front)
    for trial, (accuracy, gap) in zip(theirs.trials, values(record).values(), strict=True):
        assert trial.values == [accuracy, gap]


@pytest.mark.slow
def test_the_winner_is_the_best_of_the_front_by_the_first_objective(two_fold: Ran) -> None:
    result = two_fold.record.result
    assert result is not None
    front = two_fold.json["front"]
    best_first = [each["number"] for each in sorted(front, key=lambda each: -each["values"]["val_acc"])]
    assert [each["number"] for each in front] == best_first
    assert sorted(each.trial_number for each in result.confirmations) == sorted(best_first[:2])
    assert result.best_trial_number == best_first[0]
    assert all(each.measured["gap_acc"] > 0.0 for each in result.confirmations)


@pytest.mark.slow
def test_the_commands_show_the_front(two_fold: Ran) -> None:
    for text in (two_fold.best, two_fold.output):
        assert f"Pareto front ({len(two_fold.json['front'])} trials, best val_acc first)" in text
        assert "winner" in text
    assert f"Pareto front: {len(two_fold.json['front'])} trials" in two_fold.status
    assert status_plain(two_fold.record)["front"] == [each["number"] for each in two_fold.json["front"]]
    note = two_fold.runs()[two_fold.name].data.tags["mlflow.note.content"]
    assert "maximize `val_acc`, minimize `gap_acc`" in note and "Pareto front: `trial-" in note


@pytest.mark.slow
def test_a_reward_with_a_penalty_is_not_called_by_the_metrics_name(ran: Running) -> None:
    objectives = [{**FIRST, "gap_weight": 0.5}, TWO_FOLD["objectives"][1]]
    penalized = ran({**TWO_FOLD, "study": "penalized", "objectives": objectives})
    rewards = {number: reward for number, (reward, _) in values(penalized.record).items()}
    for front in (penalized.json["front"], penalized.artifact("pareto.json")):
        assert len(front) > 1
        for each in front:
            assert list(each["values"]) == ["reward", "gap_acc"]
            assert each["values"]["reward"] == rewards[each["number"]]
    for text in (penalized.best, penalized.output):
        told = text[text.index("Pareto front (") :].splitlines()
        assert told[0].endswith("best reward first)")
        assert told[1].split() == ["trial", "stage", "reward", "gap_acc"]


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_study_that_was_killed_ends_with_the_same_front(two_fold: Ran, state: StateDirectory) -> None:
    checkpoints: dict[str, int] = {}
    study = definition_from_plain(TWO_FOLD)
    with pytest.raises(KilledError):
        run_session(state, engine(checkpoints=checkpoints, faults=Faults(killed_after_polls=90)), study)
    record = run_session(state, engine(checkpoints=checkpoints), study)
    assert record.result is not None and two_fold.record.result is not None
    assert record.result.best_trial_number == two_fold.record.result.best_trial_number
    assert values(record) == values(two_fold.record)
    ours, theirs = (pareto_trials(each.trials, objective=study.objective) for each in (record, two_fold.record))
    assert [trial.record.key for trial in ours] == [trial.record.key for trial in theirs]


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_with_several_workers_the_finish_waits_for_the_whole_front(state: StateDirectory) -> None:
    only = {"name": "only", "n_trials": 30, "max_epochs": 3}  # enough for a finish that begins beside stragglers
    workers = UnevenEngine(n_slots=3, slow=["trial-0029"], metrics=rising_gap, measured=MEASURED)
    record = run_session(state, workers, definition_from_plain({**TWO_FOLD, "stages": [only]}))
    keys = [key for key, _ in workers.trained]
    first_confirmation = next(index for index, key in enumerate(keys) if key.startswith("confirm-"))
    assert not any(key.startswith("trial-") for key in keys[first_confirmation:])
    assert record.result is not None
    front = pareto_trials(record.trials, objective=record.definition.objective)
    confirmed = {each.trial_number for each in record.result.confirmations}
    assert confirmed == {trial.record.number for trial in front[:2]}


@pytest.mark.usefixtures("untracked")
def test_a_small_front_is_not_put_down_to_the_budget(state: StateDirectory) -> None:
    def one_is_best(assignment: TrialAssignment, epoch: int) -> dict[str, float]:
        accuracy = bell_curve(assignment, epoch)["val_acc"]
        return {**rising_gap(assignment, epoch), "val_acc": accuracy, "gap_acc": 1.0 - accuracy}

    plain = {**TWO_FOLD, "finish": {**TWO_FOLD["finish"], "top_k": 3}, "budget": {"hours": 1000}}
    record = run_session(state, engine(metrics=one_is_best), definition_from_plain(plain))
    assert record.result is not None
    assert len(record.result.confirmations) < 3
    assert not any("budget" in each for each in record.result.notices)


@pytest.mark.slow
@pytest.mark.usefixtures("untracked")
def test_a_compromise_wins_if_the_study_says_so(state: StateDirectory) -> None:
    finish = {**TWO_FOLD["finish"], "winner": "compromise"}
    record = run_session(state, engine(), definition_from_plain({**TWO_FOLD, "finish": finish}))
    front = [trial.score for trial in pareto_trials(record.trials, objective=record.definition.objective)]
    accuracies = [score.reward for score in front if score is not None]
    gaps = [score.measured["gap_acc"] for score in front if score is not None]
    assert record.result is not None
    accuracy, gap = values(record)[record.result.best_trial_number]
    assert min(accuracies) < accuracy < max(accuracies)
    assert min(gaps) < gap < max(gaps)
    assert record.result.confirmations[0].trial_number == record.result.best_trial_number


@pytest.mark.slow
def test_a_longer_study_takes_the_mark_from_what_it_dominates(ran: Running) -> None:
    """Without a finish a study can go on; trials of more epochs dominate those of fewer."""
    stage = {"name": "coarse", "n_trials": 6, "max_epochs": 2}
    short = ran({**TWO_FOLD, "study": "longer", "stages": [stage], "finish": "none", "schedule_horizon": "stage"})
    before = {each["number"] for each in short.json["front"]}
    longer = definition_from_plain(
        {
            **TWO_FOLD,
            "study": "longer",
            "finish": "none",
            "schedule_horizon": "stage",
            "stages": [stage, {"name": "fine", "n_trials": 6, "max_epochs": 9, "narrow": "none"}],
        }
    )
    run_session(short.state, engine(), longer)
    record = short.record
    front = {trial.record.number for trial in pareto_trials(record.trials, objective=longer.objective)}
    marks = {key: run.data.tags.get("zeroin.pareto") for key, run in short.runs().items()}
    assert before - front
    assert {number for number in before if marks[f"trial-{number:04d}"] == "false"} == before - front
    assert {f"trial-{number:04d}" for number in front} == {key for key, mark in marks.items() if mark == "true"}


def test_workers_are_told_the_direction_of_each_objective() -> None:
    plain = {**TWO_FOLD, "objectives": [FIRST, {"monitor": "val_fpr", "direction": "minimize"}]}
    assembly = assemble(definition_from_plain(plain), {})
    assert (assembly.monitor, assembly.maximize) == ("val_acc", True)
    assert assembly.further_maximize == {"val_fpr": False}
