"""What the live progress display costs: CPU time of the display while a simulated study of `--seconds` runs past it.

The target is under 1 % of a two-minute run. `--watch` draws on this terminal instead, to be looked at.

    python benchmarks/progress_cost.py --seconds 120
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import pty
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from search.cli.console import make_console, show
from search.cli.progress_live import LiveProgress
from search.cli.progress_plain import PlainProgress
from search.cli.result_story import result_story
from search.observer import SilentObserver, StudyObserver
from search.range_text import range_text
from search.reward import score
from search.search_space import Choices, Dimension, SearchSpace
from search.study_definition import StudyDefinition
from search.study_file import built_in_studies, load_study_file
from search.study_record import (
    Confirmation,
    NarrowedSpace,
    RangeChange,
    RangeDecision,
    ScoredTrial,
    StageOpening,
    StudyRecord,
    StudyResult,
    StudyState,
)
from search.trial import EpochRecord, TrialRecord, TrialState

N_WORKERS = 4


class SimulatedStudy:
    """Tells an observer what the coordinator would tell it of a study, with made-up metrics and no training."""

    def __init__(self, definition: StudyDefinition, *, seconds: float, seed: int) -> None:
        """Spread the study's epochs evenly over `seconds`."""
        finish = definition.finish
        assert finish is not None
        self.definition = definition
        self.random = random.Random(seed)
        self.record = StudyRecord(
            definition=definition,
            state=StudyState.RUNNING,
            openings=(),
            trials=(),
            result=None,
            storage="journal:///home/user/project/mlruns/optuna.journal",
            tracking_uri="sqlite:////home/user/project/mlruns/mlflow.db",
            directory="/home/user/project/mlruns/trials/digits",
        )
        n_finish = (finish.top_k * finish.n_seeds + finish.n_refits) * definition.stages[-1].max_epochs
        n_epochs = sum(stage.n_trials * stage.max_epochs for stage in definition.stages) + n_finish
        self.pause_seconds = seconds / n_epochs

    def run(self, observer: StudyObserver) -> StudyRecord:
        """Play the whole study."""
        observer.study_opened(self.record, resumed=False, n_workers=N_WORKERS)
        for index in range(len(self.definition.stages)):
            self._stage(observer, index)
        best = max(self.record.trials, key=lambda trial: trial.score.reward if trial.score else -1.0)
        finish, n_epochs = self.definition.finish, self.definition.stages[-1].max_epochs
        assert finish is not None and best.record.number is not None
        for name, n_runs in (("confirm", finish.top_k * finish.n_seeds), ("refit", finish.n_refits)):
            observer.phase_started(name, n_runs=n_runs, n_epochs=n_epochs)
            self._trials(observer, name, list(range(n_runs)), n_epochs=n_epochs, is_search=False)
        observer.phase_started("test", n_runs=1, n_epochs=0)
        result = self._result(best.record.number)
        self.record = replace(self.record, state=StudyState.FINISHED, result=result)
        observer.study_finished(self.record, result)
        return self.record

    def _stage(self, observer: StudyObserver, index: int) -> None:
        stage, first = self.definition.stages[index], len(self.record.trials)
        opening = StageOpening(
            index=index,
            name=stage.name,
            narrowed=self._narrowed(index),
            first_trial_number=first,
            time_ms=int(time.time() * 1000),
        )
        self.record = replace(self.record, openings=(*self.record.openings, opening))
        observer.stage_opened(opening)
        if index == 1:
            observer.notice(f"worker 2 was lost (killed by signal 9); trial #{first - 1} goes on from its checkpoint.")
        numbers = list(range(first, first + stage.n_trials))
        self._trials(observer, stage.name, numbers, n_epochs=stage.max_epochs, is_search=True)

    def _trials(
        self, observer: StudyObserver, stage: str, numbers: list[int], *, n_epochs: int, is_search: bool
    ) -> None:
        running: list[TrialRecord] = []
        done: list[ScoredTrial] = []
        while numbers or running:
            while numbers and len(running) < N_WORKERS:
                number = numbers.pop(0)
                running.append(self._trial(number, stage, n_epochs=n_epochs, is_search=is_search))
                observer.trial_started(running[-1])
            position = self.random.randrange(len(running))
            record = running[position] = self._with_epoch(running[position])
            time.sleep(self.pause_seconds)
            observer.epoch_finished(record)
            state, reason = self._fate(record)
            if state is not TrialState.RUNNING:
                record = replace(record, state=state, reason=reason, finished_ms=int(time.time() * 1000))
                running.pop(position)
                scored = score(record, self.definition.objective)
                done.append(ScoredTrial(record=record, score=scored))
                observer.trial_finished(record, scored)
        if is_search:
            trials = (*self.record.trials, *done)
            ordered = sorted(trials, key=lambda trial: trial.record.number or 0)
            self.record = replace(self.record, trials=tuple(ordered))

    def _trial(self, number: int, stage: str, *, n_epochs: int, is_search: bool) -> TrialRecord:
        space = self.record.openings[-1].narrowed.space
        return TrialRecord(
            key=f"trial-{number:04d}" if is_search else f"{stage}-seed{number}",
            number=number if is_search else None,
            stage=stage,
            hyperparameters=space.from_units({name: self.random.random() for name in space.names}),
            seed=number,
            n_epochs=n_epochs,
            horizon_epochs=n_epochs,
            started_ms=int(time.time() * 1000),
        )

    def _with_epoch(self, record: TrialRecord) -> TrialRecord:
        epoch = len(record.epochs) + 1
        value = min(0.999, 0.5 + 0.45 * (1.0 - 0.6**epoch) + self.random.gauss(0.0, 0.02))
        gap = self.random.gauss(0.01, 0.01)
        metrics = {"val_acc": value, "gap_acc": gap, "train_eval_acc": value + gap}
        latest = EpochRecord(epoch=epoch, metrics=metrics, time_ms=int(time.time() * 1000))
        return replace(record, epochs=(*record.epochs, latest))

    def _fate(self, record: TrialRecord) -> tuple[TrialState, str]:
        chance = self.random.random()
        if record.number is not None and chance < 0.01:
            return TrialState.FAILED, "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x512 and 256x10)"
        if record.number is not None and chance < 0.03:
            return TrialState.DIVERGED, f"train_loss became nan in epoch {len(record.epochs)}"
        if record.number is not None and chance < 0.10 and len(record.epochs) < record.n_epochs:
            return TrialState.PRUNED, f"below the median of 12 trials at epoch {len(record.epochs)}"
        return (TrialState.COMPLETE, "") if len(record.epochs) == record.n_epochs else (TrialState.RUNNING, "")

    def _narrowed(self, index: int) -> NarrowedSpace:
        space = self.definition.space if index == 0 else self.record.openings[-1].narrowed.space
        pairs = [self._decision(dimension, is_first=index == 0) for dimension in space]
        return NarrowedSpace(
            space=SearchSpace(dimensions=tuple(dimension for dimension, _ in pairs)),
            decisions=tuple(decision for _, decision in pairs),
        )

    def _decision(self, dimension: Dimension, *, is_first: bool) -> tuple[Dimension, RangeDecision]:
        before, after, change, reason = range_text(dimension), dimension, RangeChange.DECLARED, "as declared"
        if not is_first:
            change, reason = RangeChange.KEPT, "no evidence that it matters (p = 0.41, 16 trials)"
            if not isinstance(dimension.range, Choices) and self.random.random() < 0.6:
                low, high = dimension.range.scale(dimension.range.low), dimension.range.scale(dimension.range.high)
                middle, half = low + (high - low) * self.random.uniform(0.4, 0.6), 0.3 * (high - low)
                bounds = (dimension.range.unscale(middle - half), dimension.range.unscale(middle + half))
                after = replace(dimension, range=dimension.range.with_bounds(*bounds))
                change, reason = (
                    RangeChange.NARROWED,
                    "the best 5 of 16 trials lie in it, with 15 % to spare (p = 0.001)",
                )
        decision = RangeDecision(
            name=dimension.name, change=change, before=before, after=range_text(after), reason=reason, figures={}
        )
        return after, decision

    def _result(self, best: int) -> StudyResult:
        return StudyResult(
            best_trial_number=best,
            confirmations=(
                Confirmation(
                    trial_number=best,
                    rewards=(0.984, 0.981, 0.987),
                    best_epochs=(20, 22, 24),
                    mean=0.984,
                    eliminated_after=None,
                ),
                Confirmation(
                    trial_number=61, rewards=(0.981, 0.979), best_epochs=(20, 22), mean=0.980, eliminated_after=2
                ),
                Confirmation(trial_number=70, rewards=(0.962,), best_epochs=(20,), mean=0.962, eliminated_after=1),
            ),
            refit_keys=("refit-seed0", "refit-seed1", "refit-seed2"),
            refit_epochs=22,
            test_members=tuple({"test_loss": 0.06, "test_acc": value} for value in (0.9833, 0.9796, 0.9852)),
            test_ensemble={"test_loss": 0.052, "test_acc": 0.987},
            n_test_samples=540,
            n_test_readings=1,
            n_epochs={"coarse": 92, "medium": 120, "fine": 250, "confirm": 144, "refit": 66},
            notices=(),
            seconds=118.0,
            time_ms=int(time.time() * 1000),
        )


def on_a_pseudo_terminal(run: Callable[[Console], None]) -> None:
    """Run with a console of 100 columns that somebody reads."""
    leader, follower = pty.openpty()
    reader = threading.Thread(target=lambda: _drain(leader), daemon=True)
    reader.start()
    with os.fdopen(follower, "w") as file:
        run(make_console(file=file, width=100, height=40, is_terminal=True))
    reader.join(timeout=5.0)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:  # how a pseudo-terminal says that its other end is closed
        pass


def measure(run: Callable[[], None]) -> float:
    """CPU seconds of this process while `run` runs."""
    before = time.process_time()
    run()
    return time.process_time() - before


def live(definition: StudyDefinition, console: Console, *, seconds: float) -> StudyRecord:
    with LiveProgress(console=console) as progress:
        return SimulatedStudy(definition, seconds=seconds, seed=0).run(progress)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the simulated study")
    parser.add_argument("--watch", choices=["live", "plain"], help="draw on this terminal instead of measuring")
    arguments = parser.parse_args()
    definition, seconds = load_study_file(built_in_studies()["digits"]), arguments.seconds
    if arguments.watch:
        console = make_console()
        if arguments.watch == "live":
            record = live(definition, console, seconds=seconds)
        else:
            record = SimulatedStudy(definition, seconds=seconds, seed=0).run(PlainProgress())
        show(console, result_story(record, width=console.width))
        return
    study = SimulatedStudy(definition, seconds=seconds, seed=0)
    without = measure(lambda: (study.run(SilentObserver()), None)[1])
    shown = measure(lambda: on_a_pseudo_terminal(lambda console: (live(definition, console, seconds=seconds), None)[1]))
    print(f"{platform.machine()} {platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{' '.join(sys.argv)}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}")
    print(f"display: {shown - without:.2f} s of CPU in {seconds:.0f} s = {(shown - without) / seconds:.2%}")


if __name__ == "__main__":
    main()
