"""What is wrong with an argument of our own modules is said in one sentence, without a traceback."""

from __future__ import annotations

from typing import Any

import pytest

from search.messages import Inspect, InspectionResult, ModelAssembly
from search.worker.inspection import inspect_assembly
from search.worker.user_error import describe


def inspect(model: str, **arguments: Any) -> InspectionResult:
    assembly = ModelAssembly(
        model_class=f"lightning_modules.{model}",
        model_args={"in_channels": 1, "n_classes": 10, **arguments},
        data_class="lightning_modules.DigitsDataModule",
        data_args={},
        data_seed=0,
        trainer_args={},
        monitor="val_acc",
        maximize=True,
    )
    return inspect_assembly(Inspect(assembly=assembly, searched=()))


def test_an_argument_error_is_its_message() -> None:
    from lightning_modules.arguments import ArgumentError, check_count

    with pytest.raises(ArgumentError) as caught:
        check_count(0, name="width", at_least=1)
    assert describe(caught.value) == ("`width` must be an integer >= 1, but got 0.", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "arguments", "key", "expected"),
    [
        ("ConvNet", {"padding": 0, "image_size": 4}, "model.init_args", "ConvNet raised: (H + 2P - F)/S + 1 must be"),
        ("ConvNet", {"padding": 0, "widths": "4-4-4"}, "model.class_path", "images of 8x8 pixels vanish in"),
        ("AlexNet", {"variant": "cifer"}, "model.init_args", "raised: `variant` must be one of"),
    ],
)
def test_the_dry_run_says_what_is_wrong_and_where(
    model: str, arguments: dict[str, Any], key: str, expected: str
) -> None:
    result = inspect(model, **arguments)
    assert expected in result.error
    assert (result.error_key, result.traceback) == (key, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("LeNet", {"drop_connect": 0.5}),
        ("AlexNet", {"variant": "cifar", "norm": "batch"}),
        ("ResNet", {"norm": "group"}),
        ("ConvNet", {"activation": "maxout", "spatial_dropout": 0.1, "hidden_width": 8, "norm": "layer"}),
    ],
)
def test_every_network_trains_on_the_digits(model: str, arguments: dict[str, Any]) -> None:
    result = inspect(model, **arguments)
    assert not result.error
    assert {"val_loss", "val_acc"} <= set(result.metrics)
