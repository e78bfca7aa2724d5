from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from search.seeds import derived_seed

parts = st.lists(st.integers(-(2**63), 2**63) | st.text(), max_size=4)


@given(parts)
def test_seeds_are_valid_for_every_library(what: list[int | str]) -> None:
    assert 0 <= derived_seed(*what) < 2**31


def test_every_part_its_type_and_its_place_count() -> None:
    calls: list[tuple[int | str, ...]] = [
        *((), (0,), (1,), ("0",), (0, 1), (1, 0), ("01",), ("0", "1"), (0, "trial", 1), (0, "stage", 1))
    ]
    assert len({derived_seed(*call) for call in calls}) == len(calls)


def test_seeds_do_not_depend_on_the_process() -> None:
    code = "from search.seeds import derived_seed; print(derived_seed(7, 'trial', 12))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert int(output) == derived_seed(7, "trial", 12)


def test_seeds_of_many_trials_hardly_ever_meet() -> None:
    assert len({derived_seed(0, "trial", number) for number in range(10_000)}) >= 9_998
