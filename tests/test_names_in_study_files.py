"""Names that cannot be searched or bounded: what is suggested instead, and what is not."""

from __future__ import annotations

import pytest

from search.errors import StudyDefinitionError
from search.study_file import definition_from_plain

PLAIN = {
    "study": "names",
    "seed": 0,
    "model": {"class_path": "my_package.Net"},
    "objective": {"monitor": "val_loss", "direction": "minimize"},
    "stages": [{"name": "all", "n_trials": 4, "max_epochs": 2}],
}


def refusal(**changes: object) -> str:
    with pytest.raises(StudyDefinitionError) as refused:
        definition_from_plain({**PLAIN, "space": {"model.lr": {"log": [0.1, 1.0]}}, **changes})
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "model.lr"),
        ("modle.lr", "model.lr"),
        ("model..lr", "model.lr"),
        ("model.lr ", "model.lr"),
        (" model . net . lr", "model.net.lr"),
        ("model.", None),
        ("model", None),
        (".", None),
        (" ", None),
        ("model.l-r", None),
        ("something.else", None),
    ],
)
def test_what_is_suggested_can_be_searched(name: str, meant: str | None) -> None:
    told = refusal(space={name: {"log": [0.1, 1.0]}})
    assert f"must be named model.…, data.… or trainer.… and its argument, but got {name!r}." in told
    assert ("Did you mean" in told) == (meant is not None)
    if meant is not None:
        assert f"Did you mean {meant!r}?" in told


def test_a_constraint_without_a_name_is_told_by_its_name() -> None:
    assert "constraints: every name here must be a string of one character or more, but got ''." in refusal(
        constraints={"": {"at_most": 1}}
    )


def test_a_range_that_is_wider_than_any_number_is_refused() -> None:
    for entry in ({"linear": [-1e308, 1e308]}, {"linear": [0.0, 1.0], "limits": [-1e308, 1e308]}):
        told = refusal(space={"model.lr": entry})
        assert "space.model.lr" in told
        assert "the width of a range must be a finite number, but got [-1e+308, 1e+308]" in told
