"""How the messages of a group's ranks become those of one worker, and their measurements one report."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.callbacks.rank_reduction import weighted_means
from search.engines.rank_environment import rank_environment, without_ranks
from search.engines.rank_merging import ERROR_GRACE_SECONDS, RankMerging
from search.errors import SearchError
from search.messages import EpochReport, Heartbeat, TrialEnded, WorkerReady
from search.worker.rank_metrics import RankMetrics, merged


def ready(pid: int, device: str = "CPU, 1 thread") -> WorkerReady:
    return WorkerReady(pid=pid, device=device, versions={"torch": "2"})


def report(epoch: int) -> EpochReport:
    return EpochReport(trial_key="t", epoch=epoch, metrics={"val_loss": 1.0})


def ended(error: str = "", *notices: str) -> TrialEnded:
    trace = "Traceback" if error else ""
    return TrialEnded(trial_key="t", n_epochs=1, stopped_by_module=False, error=error, traceback=trace, notices=notices)


def test_a_single_rank_is_heard_as_it_is_but_for_its_heartbeat() -> None:
    merging = RankMerging(1)
    for message in (ready(1), report(1), ended("ValueError")):
        assert merging.add(0, message, now=0.0) is message
    assert merging.add(0, Heartbeat(), now=0.0) is None
    assert merging.overdue_error(now=math.inf) is None


def test_a_group_is_ready_when_all_ranks_are_and_has_rank_0s_process() -> None:
    merging = RankMerging(3)
    assert merging.add(2, ready(12), now=0.0) is None
    assert merging.add(0, ready(10), now=0.0) is None
    assert merging.add(1, ready(11, "H200"), now=0.0) == ready(10, "2 x CPU, 1 thread, 1 x H200")


def test_only_rank_0_reports() -> None:
    merging = RankMerging(2)
    assert merging.add(1, report(1), now=0.0) is None
    assert merging.add(0, report(1), now=0.0) == report(1)
    assert merging.add(1, Heartbeat(), now=0.0) is None


@given(order=st.permutations(range(4)))
def test_an_answer_is_given_once_when_all_ranks_have_with_the_notices_of_all(order: list[int]) -> None:
    merging = RankMerging(4)
    for _ in range(2):  # one order after the other
        said = [merging.add(rank, ended("", "same", f"of {rank}"), now=0.0) for rank in order]
        assert said[:-1] == [None] * 3
        assert said[-1] == ended("", "same", "of 0", "of 1", "of 2", "of 3")


def test_the_first_error_is_the_groups_answer_after_a_grace_and_the_last_thing_it_says() -> None:
    merging = RankMerging(3)
    assert merging.add(0, ended(), now=10.0) is None
    assert merging.add(2, ended("ValueError: no"), now=10.0) is None
    assert merging.add(1, ended("RuntimeError: connection closed"), now=10.1) is None
    assert merging.overdue_error(now=10.0 + 0.9 * ERROR_GRACE_SECONDS) is None
    told = merging.overdue_error(now=10.0 + ERROR_GRACE_SECONDS)
    assert isinstance(told, TrialEnded)
    assert told.error == "ValueError: no"
    assert told.traceback == "rank 2 of 3:\nTraceback"


def test_ranks_get_their_own_variables_and_nobody_elses() -> None:
    shell = {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "0",
        "NCCL_DEBUG": "INFO",
        "SLURM_TMPDIR": "/scratch",
        "RANK": "3",
        "LOCAL_RANK": "3",
        "WORLD_SIZE": "8",
        "MASTER_PORT": "1",
        "SLURM_PROCID": "5",
        "TORCHELASTIC_RUN_ID": "old",
        "OMPI_COMM_WORLD_RANK": "2",
        "PL_GLOBAL_SEED": "0",
        "NODE_RANK": "1",
    }
    clean = without_ranks(shell)
    assert clean.keys() == {"PATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NCCL_DEBUG", "SLURM_TMPDIR"}
    places = [rank_environment(rank, n_ranks=2, group="g", port=5) for rank in (0, 1)]
    assert [place["RANK"] for place in places] == ["0", "1"]
    assert {place["WORLD_SIZE"] for place in places} == {"2"}
    # Whatever a group sets, a worker inside such a group would not inherit.
    assert not without_ranks(places[0])


shares = st.lists(st.tuples(st.integers(1, 50), st.floats(-1e3, 1e3)), min_size=1, max_size=5)


@given(shares=shares)
def test_a_weighted_mean_is_the_mean_over_all_samples(shares: list[tuple[int, float]]) -> None:
    samples = [value for n, value in shares for _ in range(n)]
    means = weighted_means([(n, {"m": value}) for n, value in shares])
    assert means["m"] == pytest.approx(math.fsum(samples) / len(samples), rel=1e-9, abs=1e-9)


@given(value=st.floats(allow_nan=False), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_what_ranks_agree_on_stays_to_the_bit(value: float, sizes: list[int]) -> None:
    assert weighted_means([(n, {"m": value}) for n in sizes]) == {"m": value}


def test_a_nan_counts_wherever_it_is_and_missing_names_do_not() -> None:
    means = weighted_means([(10, {"a": 1.0, "b": 2.0}), (0, {"a": math.nan}), (30, {"b": 4.0, "c": math.inf})])
    assert math.isnan(means["a"])
    assert means["b"] == 3.5
    assert means["c"] == math.inf
    assert weighted_means([(0, {"a": 1.0}), (0, {"a": 2.0})]) == {"a": 1.5}


def rank(**changes: Any) -> RankMetrics:
    fields: dict[str, Any] = {
        "trained": {"train_loss": 1.0},
        "n_trained": 10,
        "validated": {"val_loss": 2.0},
        "n_validated": 1,
        "learning_rate": 0.1,
        "seconds": 1.0,
        **changes,
    }
    return RankMetrics(**fields)


def test_a_report_weighs_training_and_validation_by_their_own_samples_and_has_the_slowest_time() -> None:
    other = rank(trained={"train_loss": 4.0}, n_trained=20, validated={"val_loss": 4.0}, n_validated=3, seconds=2.0)
    assert merged([rank(), other]) == {"train_loss": 3.0, "val_loss": 3.5, "learning_rate": 0.1, "epoch_seconds": 2.0}


def test_ranks_that_drift_apart_are_refused() -> None:
    with pytest.raises(SearchError, match=r"one learning rate, but have 0.1, 0.05.*sync_dist=True"):
        merged([rank(), rank(learning_rate=0.05)])
