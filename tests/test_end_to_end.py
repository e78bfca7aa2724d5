"""The whole road with real processes: run, look, compare in MLflow and Optuna, start another, delete."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml
from command_line import CommandLine, free_port, wait_for
from mlflow.entities import Run

from lightning_modules import ConvNet, DigitsDataModule
from search.errors import StudyNotFoundError
from search.paths import StateDirectory
from search.recorded_best import winner
from search.search_space import Choices
from search.studies_api import list_studies, read_study
from search.study_record import StudyRecord, StudyState
from search.trial import TrialState

pytestmark = pytest.mark.slow

N_TRIALS = (13, 4, 2)
N_EPOCHS = (1, 2, 3)
OVERRIDES = (
    *(f"stages.{index}.n_trials={n_trials}" for index, n_trials in enumerate(N_TRIALS)),
    *(f"stages.{index}.max_epochs={n_epochs}" for index, n_epochs in enumerate(N_EPOCHS)),
    *("finish.top_k=2", "finish.n_seeds=2"),
)
SHRUNK = tuple(word for override in OVERRIDES for word in ("--set", override))

Answers = Mapping[str, subprocess.CompletedProcess[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """The shrunk built-in study, run to its end."""

    zeroin: CommandLine
    output: str
    record: StudyRecord
    client: mlflow.MlflowClient

    def runs(self) -> list[Run]:
        """Runs of the experiment in MLflow."""
        experiment = self.client.get_experiment_by_name("digits")
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id], max_results=1000))

    def parent(self) -> Run:
        """The study's own run."""
        (run,) = (run for run in self.runs() if "mlflow.parentRunId" not in run.data.tags)
        return run

    def child(self, key: str) -> Run:
        """The run of one trial."""
        (run,) = (run for run in self.runs() if run.data.tags.get("zeroin.trial") == key)
        return run

    def history(self, run: Run, metric: str) -> dict[int, float]:
        """A metric's values by step."""
        points = self.client.get_metric_history(run.info.run_id, metric)
        assert len({point.step for point in points}) == len(points)
        return {point.step: point.value for point in points}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, copied_mlflow_database: Callable[[Path], Path]) -> Digits:
    zeroin = CommandLine(directory=tmp_path_factory.mktemp("digits"))
    copied_mlflow_database(zeroin.home / "mlflow.db")
    done = zeroin.run("run", "digits", "--devices", "cpu:2", "--plain", *SHRUNK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return Digits(
        zeroin=zeroin,
        output=done.stdout,
        record=read_study("digits", directory=StateDirectory(root=zeroin.home)),
        client=mlflow.MlflowClient(tracking_uri=f"sqlite:///{zeroin.home / 'mlflow.db'}"),
    )


@pytest.fixture(scope="module")
def answers(digits: Digits) -> Answers:
    """What the commands that only look say of the finished study."""
    commands = {
        "run again": ["run", "digits", "--plain"],
        "changed": ["run", "digits", "--plain", "--set", "stages.0.n_trials=14", "--set", "seed=7"],
        "list": ["list", "--format", "json"],
        "status": ["status", "digits", "--format", "json"],
        "trials": ["trials", "digits", "--format", "json"],
        "csv": ["trials", "digits", "--format", "csv"],
        "best": ["best", "digits", "--format", "json"],
        "ranges": ["ranges", "digits"],
        "schema": ["schema"],
        "init": ["init", "mine"],
    }
    return {name: digits.zeroin.called(*command) for name, command in commands.items()}


def test_the_log_tells_stages_ranges_trials_and_the_result(digits: Digits) -> None:
    lines = digits.output.splitlines()
    for name, n_trials in zip(("coarse", "medium", "fine"), N_TRIALS, strict=True):
        assert sum(f"] stage {name}: {n_trials} trials" in line for line in lines) == 1
        assert sum(f"] {name} {n_trials}/{n_trials} #" in line for line in lines) == 1
    n_decisions = sum(" kept " in line or " narrowed " in line or "extended " in line for line in lines)
    assert n_decisions >= 2 * len(digits.record.definition.space.names)
    for expected in ("] confirm: ", "] refit: ", "] test: reading the test split once", "Best hyperparameters"):
        assert digits.output.count(expected) == 1
    assert "read once in this study's life" in digits.output
    assert "zeroin best digits" in digits.output
    assert f"storage: journal://{digits.zeroin.home / 'optuna.journal'}" in digits.output
    assert " note: " not in digits.output


def test_all_trials_are_there_and_the_test_split_is_read_once(digits: Digits) -> None:
    record, result = digits.record, digits.record.result
    assert record.state is StudyState.FINISHED
    assert [trial.record.number for trial in record.trials] == list(range(sum(N_TRIALS)))
    assert [opening.first_trial_number for opening in record.openings] == [0, 13, 17]
    assert result is not None
    assert result.n_test_readings == 1
    assert result.n_test_samples == 539
    assert len(result.test_members) == 2
    assert set(result.test_ensemble) == set(result.test_members[0]) >= {"test_acc"}
    logs = (digits.zeroin.home / "trials" / "digits").glob("*/epochs.jsonl")
    n_logged = sum("epoch" in json.loads(line) for path in logs for line in path.read_text().splitlines())
    assert sum(result.n_epochs.values()) == n_logged


def test_hyperparameters_lie_in_their_stages_ranges(digits: Digits) -> None:
    boxes = {opening.name: opening.narrowed.space for opening in digits.record.openings}
    for trial in digits.record.trials:
        box = boxes[trial.record.stage]
        assert set(trial.record.hyperparameters) <= set(box.names)
        for name, value in trial.record.hyperparameters.items():
            range_ = box[name].range
            if isinstance(range_, Choices):
                assert value in range_.values
            else:
                assert isinstance(value, int | float)
                assert range_.low <= value <= range_.high or (value == 0.0 and box[name].zero_share > 0.0)


def test_looking_commands_answer_in_strict_json_and_csv(digits: Digits, answers: Answers) -> None:
    for name, answer in answers.items():
        assert answer.returncode == (2 if name == "changed" else 0), name + answer.stdout + answer.stderr
        assert "Traceback" not in answer.stderr
    (study,) = strict_json(answers["list"].stdout)
    assert (study["name"], study["state"], study["n_finished"]) == ("digits", "finished", sum(N_TRIALS))
    status = strict_json(answers["status"].stdout)
    assert [stage["n_finished"] for stage in status["stages"]] == list(N_TRIALS)
    assert status["n_test_readings"] == 1
    trials = strict_json(answers["trials"].stdout)
    rows = list(csv.DictReader(answers["csv"].stdout.splitlines()))
    assert len(trials) == len(rows) == sum(N_TRIALS)
    for plain, row, trial in zip(trials, rows, digits.record.trials, strict=True):
        assert trial.score is not None
        assert plain["reward"] == float(row["reward"]) == trial.score.reward
        assert plain["model.learning_rate"] == trial.record.hyperparameters["model.learning_rate"]
        assert plain["gap_at_best"] is not None
    best = strict_json(answers["best"].stdout)
    assert digits.record.result is not None
    assert best["number"] == digits.record.result.best_trial_number
    network = ConvNet(**best["usage"]["model"]["init_args"])
    for directory in best["weights"]:
        network.load_state_dict(torch.load(Path(directory) / "weights.pt", weights_only=True))
    assert str(digits.zeroin.home / "optuna.journal") in answers["trials"].stderr
    assert answers["ranges"].stdout.count("model.weight_decay") >= 3


def test_files_for_a_study_of_ones_own(digits: Digits, answers: Answers) -> None:
    schema = strict_json(answers["schema"].stdout)
    written = yaml.safe_load((digits.zeroin.directory / "mine.yaml").read_text())
    assert written["study"] == "mine"
    assert set(written) <= set(schema["properties"])


def test_a_finished_study_is_shown_and_not_run_again(digits: Digits, answers: Answers) -> None:
    again = answers["run again"].stdout
    assert "is finished; this is its result" in again
    assert "checking the model" not in again
    assert "Best hyperparameters" in again
    assert "] stage" not in again
    after = read_study("digits", directory=StateDirectory(root=digits.zeroin.home))
    assert after.trials == digits.record.trials
    assert after.result == digits.record.result


def test_another_definition_under_the_same_name_is_refused_with_the_difference(answers: Answers) -> None:
    message = answers["changed"].stderr
    assert "stages.0.n_trials" in message
    assert "13" in message
    assert "14" in message
    assert "seed" in message
    assert "--new" in message
    assert "model.learning_rate" not in message


def test_mlflow_has_one_experiment_one_parent_and_one_child_a_trial(digits: Digits) -> None:
    result = digits.record.result
    assert result is not None
    keys = [trial.record.key for trial in digits.record.trials]
    keys += [
        f"confirm-{each.trial_number:04d}-seed{i}" for each in result.confirmations for i in range(len(each.rewards))
    ]
    keys += list(result.refit_keys)
    parent = digits.parent()
    runs = digits.runs()
    children = [run for run in runs if run is not parent and run.info.run_id != parent.info.run_id]
    assert sorted(run.data.tags["zeroin.trial"] for run in children) == sorted(keys)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.info.run_name == parent.data.tags["zeroin.study"] == "digits"
    assert {run.info.run_name for run in children} == set(keys)


def test_statuses_and_tags_say_how_each_trial_ended(digits: Digits) -> None:
    statuses = {TrialState.COMPLETE: "FINISHED", TrialState.STOPPED_EARLY: "FINISHED", TrialState.FAILED: "FAILED"}
    for trial in digits.record.trials:
        run = digits.child(trial.record.key)
        assert run.info.status == statuses.get(trial.record.state, "KILLED")
        assert run.data.tags["zeroin.state"] == trial.record.state.value
        assert run.data.tags["zeroin.stage"] == trial.record.stage
        assert run.data.tags["zeroin.reason"] == trial.record.reason
        assert run.info.end_time == trial.record.finished_ms
    assert digits.parent().info.status == "FINISHED"
    assert digits.parent().data.tags["zeroin.state"] == "complete"


def test_parameters_are_the_searched_ones_and_numeric_where_numeric(digits: Digits) -> None:
    assert digits.parent().data.params == {}
    for trial in digits.record.trials:
        params = digits.child(trial.record.key).data.params
        assert set(params) == set(trial.record.hyperparameters)
        for name, value in trial.record.hyperparameters.items():
            assert (params[name] == value) if isinstance(value, str) else (float(params[name]) == value)


def test_metrics_have_a_point_an_epoch_and_summaries_are_their_best(digits: Digits) -> None:
    by_epoch = {
        *("train_loss", "train_acc", "train_eval_loss", "train_eval_acc", "val_loss", "val_acc", "gap_loss", "gap_acc"),
        *("learning_rate", "epoch_seconds"),
    }
    for trial in digits.record.trials:
        run, score = digits.child(trial.record.key), trial.score
        on_log_scale = {name for name in run.data.metrics if name.startswith("log10 ")}
        summaries = {"best_val_acc", "best_epoch", "gap_acc_at_best", "reward"}
        assert set(run.data.metrics) == by_epoch | summaries | on_log_scale
        for name in by_epoch:
            expected = {epoch.epoch: epoch.metrics[name] for epoch in trial.record.epochs}
            assert digits.history(run, name) == expected
        val, gap = digits.history(run, "val_acc"), digits.history(run, "gap_acc")
        assert score is not None
        best_epoch = int(run.data.metrics["best_epoch"])
        assert run.data.metrics["best_val_acc"] == max(val.values()) == val[best_epoch]
        assert run.data.metrics["gap_acc_at_best"] == gap[best_epoch]
        assert run.data.metrics["reward"] == score.reward
        loss, train = digits.history(run, "val_loss"), digits.history(run, "train_eval_loss")
        assert digits.history(run, "gap_loss") == {epoch: loss[epoch] - train[epoch] for epoch in loss}


def test_parent_run_tells_ranges_stages_versions_and_the_result(digits: Digits) -> None:
    parent, result = digits.parent(), digits.record.result
    assert result is not None
    low = digits.history(parent, "ranges/model.learning_rate.low")
    for opening in digits.record.openings:
        assert low[opening.index + 1] == opening.narrowed.space["model.learning_rate"].range.low
    bests = digits.history(parent, "stages/best_val_acc")
    for index, stage in enumerate(("coarse", "medium", "fine"), start=1):
        scores = [t.score.best_value for t in digits.record.trials if t.record.stage == stage and t.score is not None]
        assert bests[index] == max(scores)
    assert parent.data.metrics["test_acc_ensemble"] == result.test_ensemble["test_acc"]
    assert {"zeroin.version.torch", "zeroin.version.optuna", "zeroin.hardware.n_cpus"} <= set(parent.data.tags)
    names = {file.path for file in digits.client.list_artifacts(parent.info.run_id)}
    assert {"study.yaml", "ranges.json"} <= names
    pictures = {Path(file.path).name for file in digits.client.list_artifacts(parent.info.run_id, "pictures")}
    assert {"filters.png", "saliency.png", "confusion.png"} < pictures
    study = yaml.safe_load(artifact(digits, parent, "study.yaml"))
    assert study["stages"][0]["n_trials"] == N_TRIALS[0]
    stages = strict_json(artifact(digits, parent, "ranges.json"))
    assert [stage["name"] for stage in stages] == ["coarse", "medium", "fine"]


# Where the model is loaded, nothing of zeroin is imported.
PREDICTION = """
import json, sys
import mlflow, numpy as np
from sklearn.datasets import load_digits

mlflow.set_tracking_uri(sys.argv[1])
images = load_digits().images[json.loads(sys.argv[3]), np.newaxis].astype(np.float32)
table = mlflow.pyfunc.load_model(sys.argv[2]).predict(images)
ours = [name for name in sys.modules if name.partition(".")[0] in ("search", "lightning_modules", "pytorch_lightning")]
print(json.dumps([table["predicted"].tolist(), ours]))
"""


def test_the_registered_model_predicts_raw_images_as_well_as_the_test_said(digits: Digits, answers: Answers) -> None:
    record, best = digits.record, strict_json(answers["best"].stdout)
    assert record.model_uri == best["registered_model"] == "models:/digits/1"
    snippet = f'mlflow.pyfunc.load_model("{record.model_uri}").predict(images)'
    assert digits.output.count(snippet) == 1
    data = DigitsDataModule(**best["usage"]["data"]["init_args"])
    arguments = [record.tracking_uri, record.model_uri, json.dumps(data.splits.test.tolist())]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PREDICTION, *arguments],
        cwd=digits.zeroin.directory,
        env={name: text for name, text in digits.zeroin.environment.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    predicted, ours = json.loads(done.stdout.splitlines()[-1])
    assert ours == []
    n_right = int((np.array(predicted) == data.load().labels[data.splits.test]).sum())
    assert record.result is not None
    assert n_right / len(predicted) == pytest.approx(record.result.test_ensemble["test_acc"])


def test_optunas_own_command_lists_the_trials(digits: Digits) -> None:
    code = "import sys; from optuna.cli import main; sys.exit(main())"
    journal = str(digits.zeroin.home / "optuna.journal")
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-c", code, "trials", "--study-name", "digits", "--format", "json"),
            *("--storage", journal, "--storage-class", "JournalFileBackend"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    trials = json.loads(done.stdout)
    assert [trial["number"] for trial in trials] == list(range(sum(N_TRIALS)))
    for listed, trial in zip(trials, digits.record.trials, strict=True):
        assert listed["params"] == trial.record.hyperparameters
        assert trial.score is not None
        assert listed["value"] == trial.score.reward
        assert listed["state"] == ("PRUNED" if trial.record.state is TrialState.PRUNED else "COMPLETE")


def test_optuna_dashboard_serves_the_study(digits: Digits) -> None:
    port = free_port()
    journal = str(digits.zeroin.home / "optuna.journal")
    command = Path(sys.executable).with_name("optuna-dashboard")
    process = subprocess.Popen(
        [str(command), journal, "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    body: list[bytes] = []

    def answers() -> bool:
        assert process.poll() is None, "the dashboard ended"
        address = f"http://127.0.0.1:{port}/api/studies"
        with suppress(OSError), urllib.request.urlopen(address, timeout=10) as response:
            body.append(response.read())
        return bool(body)

    try:
        wait_for(answers, seconds=60)
    finally:
        process.kill()
        process.wait()
    (study,) = json.loads(body[0])["study_summaries"]
    assert study["study_name"] == "digits"


@pytest.mark.usefixtures("forked_workers")
def test_another_study_beside_it_and_its_removal_everywhere(digits: Digits) -> None:
    state = StateDirectory(root=digits.zeroin.home)
    small = [f"stages.{index}.{key}=1" for index in range(3) for key in ("n_trials", "max_epochs")]
    options = [word for override in (*small, "finish=null") for word in ("--set", override)]
    made = digits.zeroin.called("run", "digits", "--new", "--devices", "cpu:1", "--plain", *options)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "study digits-2: 3 trials" in made.stdout
    assert len(read_study("digits-2", directory=state).trials) == 3
    experiment = digits.client.get_experiment_by_name("digits-2")
    assert experiment is not None
    removed = digits.zeroin.called("delete", "digits-2", "--yes")
    assert removed.returncode == 0, removed.stderr
    assert digits.client.get_experiment_by_name("digits-2") is None
    (left,) = list_studies(directory=state)
    best = winner(read_study("digits", directory=state))
    assert best is not None
    assert best.score is not None
    assert (left.name, left.best_reward) == ("digits", best.score.reward)
    with pytest.raises(StudyNotFoundError, match="digits-2"):
        read_study("digits-2", directory=state)
    assert not state.study("digits-2").directory.exists()
    assert not (state.artifacts / "digits-2").exists()
    assert digits.client.create_experiment("digits-2")  # the name is free again
    assert len(digits.runs()) == 1 + len(digits.record.trials) + 4 + 2


def artifact(digits: Digits, run: Run, name: str) -> str:
    """Text of an artifact, read as any MLflow user would."""
    return Path(digits.client.download_artifacts(run.info.run_id, name, str(digits.zeroin.directory))).read_text()


def strict_json(text: str) -> Any:
    """Parse JSON as the standard has it, without NaN."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    parsed = json.loads(text, parse_constant=refuse)
    assert not isinstance(parsed, float) or math.isfinite(parsed)
    return parsed
