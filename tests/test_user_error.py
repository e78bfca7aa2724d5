"""What is said about an exception is of bounded length, and saying it never raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.worker.user_error import describe


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


def raised(error: BaseException) -> BaseException:
    """The error with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@given(message=st.text(max_size=40), times=st.sampled_from([1, 10, 3_000]))
def test_messages_keep_their_beginning_and_their_end(message: str, times: int) -> None:
    text = message * times
    said, trace = describe(raised(RuntimeError(text)))
    assert len(said) < 2_100
    assert len(trace) < 20_100
    assert said.startswith(f"RuntimeError: {text[:900]}" if text else "RuntimeError")
    assert said.endswith(text[-900:])


def test_an_error_without_words_is_described_too() -> None:
    said, trace = describe(raised(UnspeakableError()))
    assert said == "UnspeakableError: (its message cannot be shown: ValueError)"
    assert "raise error" in trace


def test_endless_recursion_is_described_in_bounds() -> None:
    def fall(depth: int) -> int:
        return fall(depth + 1)

    with pytest.raises(RecursionError) as caught:
        fall(0)
    said, trace = describe(caught.value)
    assert said.startswith("RecursionError: ")
    assert len(trace) < 20_100
