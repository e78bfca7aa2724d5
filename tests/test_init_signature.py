from __future__ import annotations

import inspect
from typing import Any

import pytest

from lightning_modules.conv_net import ConvNet
from lightning_modules.init_signature import init_signature


class Base:
    def __init__(self, network: object, *, rate: float = 0.1, decay: float = 0.0) -> None: ...


class Middle(Base):
    def __init__(self, *, width: int, decay: float = 0.5, **training: Any) -> None: ...


class Top(Middle):
    def __init__(self, depth: int = 3, **keywords: Any) -> None: ...


class Heir(Top):
    pass


class Closed(Middle):
    def __init__(self, *, only: int) -> None: ...


class Open:
    def __init__(self, **anything: Any) -> None: ...


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Base, ["network", "rate", "decay"]),
        (Middle, ["width", "decay", "rate"]),
        (Top, ["depth", "width", "decay", "rate"]),
        (Heir, ["depth", "width", "decay", "rate"]),
        (Closed, ["only"]),
        (Open, ["anything"]),
    ],
)
def test_keywords_are_followed_to_the_base_classes(cls: type, expected: list[str]) -> None:
    assert list(init_signature(cls).parameters) == expected


def test_the_nearest_class_decides_on_the_default() -> None:
    assert init_signature(Top).parameters["decay"].default == 0.5


def test_a_network_names_the_arguments_of_its_training_too() -> None:
    parameters = inspect.signature(ConvNet).parameters
    assert {"widths", "dropout", "learning_rate", "init_scheme"} <= set(parameters)
    assert "network" not in parameters
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())


def test_a_class_of_the_users_derived_from_a_network_does_too() -> None:
    class Mine(ConvNet):
        def __init__(self, *, extra: int = 1, **rest: Any) -> None:
            super().__init__(**rest)

    assert {"extra", "widths", "learning_rate"} <= set(inspect.signature(Mine).parameters)
