"""Which name is suggested for an unknown one."""

from __future__ import annotations

import pytest

from search.errors import did_you_mean
from search.near_names import nearest_name

SPACE = ("model.optimizer", "model.learning_rate", "model.dropout", "model.depth", "data.batch_size")


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("model.lr", SPACE, "model.learning_rate"),
        ("data.bs", SPACE, "data.batch_size"),
        ("model.opt", SPACE, "model.optimizer"),
        ("model.rate", SPACE, "model.learning_rate"),
        ("model.droput", SPACE, "model.dropout"),
        ("modle.depth", SPACE, "model.depth"),
        ("model.batch_size", SPACE, "data.batch_size"),
        ("model.wd", SPACE, None),
        ("model.size", (*SPACE, "model.kernel_size"), "model.kernel_size"),
        ("size", ("batch_size", "kernel_size_of_stem"), None),
        ("optimiser", ("optimizer",), "optimizer"),
        ("stduy.yaml", ("study.yaml", "other.yaml"), "study.yaml"),
        ("digits.yaml", ("moons.yaml",), None),
        ("sgd", ("adamw", "lion"), None),
        ("", ("a",), None),
        ("model.", SPACE, None),
        ("a", (), None),
    ],
)
def test_what_is_meant_by_an_abbreviation_a_part_or_a_slip(name: str, known: tuple[str, ...], near: str | None) -> None:
    assert nearest_name(name, known) == near
    assert did_you_mean(name, known) == ("" if near is None else f" Did you mean {near!r}?")
