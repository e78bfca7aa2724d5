"""Workers of one machine that begin trials at the same time: their data are prepared by one after the other."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest
from small_training import Coordinator, Data, Net, assembly, assignment

from search.worker.assembly import assemble
from search.worker.preparation import lock_path, preparing_in_turn
from search.worker.training import train


class Downloaded(Data):
    n_prepared = 0

    def prepare_data(self) -> None:
        with lock_path().open("r+b") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        type(self).n_prepared += 1


class Slow(Data):
    under_way = 0

    def prepare_data(self) -> None:
        type(self).under_way += 1
        assert self.under_way == 1
        time.sleep(0.05)
        type(self).under_way -= 1


def test_a_trial_prepares_its_data_while_no_other_worker_does(tmp_path: Path) -> None:
    made = assembly(Net, Downloaded)
    assert train(assignment(tmp_path, assembly=made, n_epochs=1), Coordinator()).error == ""
    assert Downloaded.n_prepared == 1


def test_all_get_their_turn_and_nothing_of_it_stays() -> None:
    made = [assemble(assembly(Net, Slow), seed=0) for _ in range(3)]
    n_done = []

    def prepare(index: int) -> None:
        data = made[index].data
        assert data is not None
        with preparing_in_turn(made[index]):
            data.prepare_data()
        assert "prepare_data" not in vars(data)
        n_done.append(index)

    threads = [threading.Thread(target=prepare, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(n_done) == [0, 1, 2]
