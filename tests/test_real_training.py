"""The benchmark of searches by real training, on trainings of two epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from epoch_meter import BudgetSpentError
from hard_digits import HardDigits
from real_report import report
from real_runs import Run, Setting, make_run
from real_searches import MONITOR, one_stage, search, suggested, task_definition
from real_training import METHODS, main
from real_trainings import RealTrainings
from recorded_runs import read_runs

from search.coordinator.assembly import assemble
from search.messages import Action, EpochReport, FromWorker, TrialAssignment
from search.study_definition import StudyDefinition
from search.worker.training import train

N_EPOCHS = 2
TINY = ["--tasks", "digits-noisy", "--seeds", "1", "--budget", "5", "--epochs", str(N_EPOCHS)]


def assignment(directory: Path, *, learning_rate: float = 0.1, key: str = "a") -> TrialAssignment:
    definition = task_definition("digits-noisy", one_stage(N_EPOCHS), seed=0)
    (directory / key).mkdir()
    return TrialAssignment(
        trial_key=key,
        assembly=assemble(definition, {"model.learning_rate": learning_rate}),
        directory=str(directory / key),
        seed=7,
        n_epochs=N_EPOCHS,
        horizon_epochs=N_EPOCHS,
        resume=False,
        n_epochs_reported=0,
        merge_validation=False,
    )


class Listener:
    """A coordinator that lets everything go on."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def send(self, message: FromWorker) -> None:
        if isinstance(message, EpochReport):
            self.values.append(message.metrics["val_loss"])

    def wait_for_decision(self, trial_key: str, epoch: int) -> Action:
        return Action.CONTINUE


@pytest.mark.slow
def test_trainings_are_a_workers_cost_what_they_had_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    listener = Listener()
    train(assignment(tmp_path, key="alone"), listener)
    (tmp_path / "winner").mkdir()
    trainings = RealTrainings(budget_epochs=5, monitor=MONITOR, directory=tmp_path / "winner")
    useless, good = assignment(tmp_path, learning_rate=1e-9, key="useless"), assignment(tmp_path, key="good")
    stopped = trainings(useless, 1)
    logged = [trainings(good, epoch) for epoch in (1, 2)]
    twin = assignment(tmp_path, key="twin")
    assert [trainings(twin, epoch)[MONITOR] for epoch in (1, 2)] == [metrics[MONITOR] for metrics in logged]
    with pytest.raises(BudgetSpentError):
        trainings(useless, 2)
    assert [each["val_loss"] for each in logged] == listener.values
    assert (trainings.n_spent, trainings.n_begun) == (5, 3)
    best = max((stopped, *logged), key=lambda metrics: metrics[MONITOR])
    assert trainings.winner.metrics == best
    assert trainings.winner.assignment.trial_key == "good", "of equals the first"
    assert trainings.improvements[-1][1] == best[MONITOR]
    assert 0.0 <= trainings.read_winners_test()["test_acc"] <= 1.0


@pytest.mark.slow
def test_every_method_spends_its_budget_and_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "real.jsonl"
    assert main([*TINY, "--output", str(file)]) == 0
    first, runs = capsys.readouterr().out, read_runs(Run, [file])
    assert [run.setting.method for run in runs] == list(METHODS)
    assert all(run.n_spent == 5 for run in runs)
    assert all(run.val_acc == run.improvements[-1][1] for run in runs)
    space = task_definition("digits-noisy", one_stage(N_EPOCHS), seed=0).space
    for run in runs:
        assert run.setting == Setting(
            task="digits-noisy", method=run.setting.method, seed=0, n_epochs=N_EPOCHS, budget_epochs=5
        )
        own = {name: run.model_args[name.removeprefix("model.")] for name in space.names if name[6:] in run.model_args}
        assert space.contains(own)
    records = file.read_text()
    assert main([*TINY, "--output", str(file)]) == 0
    assert file.read_text() == records
    assert capsys.readouterr().out.partition("\n\n")[2] == first.partition("\n\n")[2]


@pytest.mark.parametrize(
    ("method", "rule", "pruner"),
    [
        ("zeroin", "posterior", "forecast"),
        ("zeroin-no-narrowing", "none", "forecast"),
        ("zeroin-median", "posterior", "median"),
    ],
)
def test_a_study_has_the_plan_of_its_name(
    method: str,
    rule: str,
    pruner: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[StudyDefinition] = []
    monkeypatch.setattr("real_searches.run_session", lambda study, *_, **__: asked.append(study))
    trainings = RealTrainings(budget_epochs=264, monitor=MONITOR, directory=tmp_path)
    search(method, "digits", trainings, n_epochs=24, budget_epochs=264, seed=3)
    (study,) = asked
    assert [(stage.n_trials, stage.max_epochs) for stage in study.stages] == [(8, 6), (8, 24), (264, 24)]
    assert {stage.narrow.rule for stage in study.stages[1:]} == {rule}
    assert (study.pruner.name, study.seed) == (pruner, 3)


def test_what_optuna_suggests_is_the_space_of_the_shipped_study() -> None:
    space = task_definition("digits", one_stage(N_EPOCHS), seed=0).space
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [suggested(study.ask(), space) for _ in range(400)]
    assert all(space.contains(point) for point in points)
    assert sum(point["model.dropout"] == 0.0 for point in points) == pytest.approx(40, abs=18)
    assert sum("model.momentum" in point for point in points) == pytest.approx(267, abs=30)


def test_a_task_with_wide_ranges_differs_from_its_twin_in_these_alone() -> None:
    twin, wide = (task_definition(task, one_stage(N_EPOCHS), seed=3) for task in ("digits-noisy", "digits-noisy-wide"))
    widened = {dimension.name for dimension in wide.space if dimension != twin.space[dimension.name]}
    assert widened == {"model.learning_rate", "model.lr_decay", "model.init_gain", "model.weight_decay"}
    for name in widened:
        (inner, outer) = (study.space[name].edges() for study in (twin, wide))
        assert outer[0] <= inner[0] < inner[1] <= outer[1]
        assert outer[1] - outer[0] >= 1.4 * (inner[1] - inner[0])
    assert replace(wide, study=twin.study, space=twin.space) == twin


def test_wrong_labels_are_in_the_train_split_alone_and_as_many_as_asked_for() -> None:
    right, noisy = (HardDigits(n_train=200, label_noise=noise, split_seed=3) for noise in (0.0, 0.2))
    sizes = []
    for split in ("train_eval", "val", "test"):
        ours, others = (getattr(module, f"{split}_dataloader")().dataset.tensors for module in (noisy, right))
        assert torch.equal(ours[0], others[0])
        sizes.append((len(ours[1]), int((ours[1] != others[1]).sum())))
    assert sizes == [(200, 40), (400, 0), (1197, 0)]


def test_cluttered_images_follow_from_the_seed_of_the_splits() -> None:
    modules = [HardDigits(n_train=600, is_cluttered=True, split_seed=seed) for seed in (1, 2, 1)]
    first, other, again = (module.test_dataloader().dataset.tensors[0] for module in modules)
    assert first.shape == (797, 1, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.isfinite(first).all()


def record(method: str, seed: int, test_acc: float) -> Run:
    return Run(
        setting=Setting(task="digits", method=method, seed=seed, n_epochs=24, budget_epochs=264),
        test_acc=test_acc,
        val_acc=0.95,
        gap_acc=0.02,
        n_spent=264,
        n_trainings=11,
        wall_seconds=30.0,
        cpu_seconds=20.0,
        training_seconds=29.0,
        improvements=((1, 0.95),),
        best_epoch=1,
        model_args={},
        version="1",
    )


def test_differences_are_taken_between_runs_of_one_seed() -> None:
    ours = [record("zeroin", seed, 0.90 + 0.02 * (seed % 3)) for seed in range(6)]
    theirs = [record("random", run.setting.seed, run.test_acc - 0.01) for run in ours]
    table = report([*ours, *theirs, record("random", 99, 0.1)])
    assert "| random | 1.00 ± 0.00, p = 0.031 |" in table
    assert f"| zeroin | 6 | {92.0:.2f} ± " in table
    longer = [replace(run, setting=replace(run.setting, budget_epochs=528)) for run in ours]
    assert report([*theirs, *longer]).count("epochs a search") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--tasks", "mnist"],
            "a task must be one of digits, digits-noisy, digits-cluttered, digits-noisy-wide, but got 'mnist'",
        ),
        (["--methods", "hyperopt"], "but got 'hyperopt'"),
        (["--methods", "zeroin-hyperopt"], "but got 'hyperopt'"),
    ],
)
def test_a_task_or_method_that_does_not_exist_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*arguments, "--output", str(tmp_path / "real.jsonl")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_search_is_repeatable() -> None:
    setting = Setting(task="digits-noisy", method="zeroin", seed=0, n_epochs=N_EPOCHS, budget_epochs=4)
    first, second = make_run(setting), make_run(setting)
    assert (first.improvements, first.test_acc, first.model_args) == (
        second.improvements,
        second.test_acc,
        second.model_args,
    )
