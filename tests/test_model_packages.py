"""What a worker writes of refitted members: one file that classifies raw images without the study."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from small_training import Data, Net, assembly
from torch import Tensor, nn

from lightning_modules import ConvNet, DigitsDataModule
from search.checkpoint_store import CheckpointStore
from search.messages import ModelAssembly, PackageAssignment, PackageResult
from search.model_package import CODE, DATA, EXAMPLES_NAME, read_description
from search.worker import packaged_model
from search.worker.packaging import package_model

pytestmark = pytest.mark.slow  # the first export imports much of torch

# A user's own files: a module that takes another way for some inputs than for others, which no program can.
USERS_MODULE = """
from users_layers import Line
from small_training import Net


class Undecided(Net):
    def __init__(self, slope=1.0):
        super().__init__()
        self.line = Line(slope)

    def forward(self, x):
        return self.line(super().forward(x)) if float(x.sum()) > 0.0 else super().forward(x) - 1.0
"""
USERS_LAYERS = """
from torch import nn


class Line(nn.Module):
    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return self.slope * x
"""

CONV_NET: dict[str, Any] = {"in_channels": 1, "n_classes": 10, "widths": (4,), "norm": "batch"}


class Shrugs(Net):
    """Gives one number for each input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


class NamedData(Data):
    class_names = ("low", "high")


class MisnamedData(Data):
    class_names = ("low", "middle", "high")


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float() * 2.0


class RawData(Data):
    """Points that come as bytes."""

    def __init__(self, batch_size: int = 16, n_train: int = 64) -> None:
        super().__init__(batch_size, n_train)
        self.preprocessing = Doubling()

    def raw_examples(self, n: int) -> NDArray[np.uint8]:
        return np.arange(5 * n, dtype=np.uint8).reshape(n, 5)


def packaged(
    directory: Path, made: ModelAssembly, members: Sequence[nn.Module], **changes: Any
) -> tuple[PackageResult, Path]:
    """Have members with these weights packaged; return what the worker says and the package, unpacked."""
    directories = [directory / f"refit-seed{index}" for index in range(len(members))]
    for place, member in zip(directories, members, strict=True):
        place.mkdir()
        torch.save(member.state_dict(), place / "weights.pt")
    fields = {"file": str(directory / "model.zip"), **changes}
    order = PackageAssignment(
        assembly=made,
        trial_keys=tuple(place.name for place in directories),
        directories=tuple(map(str, directories)),
        **fields,
    )
    result = package_model(order)
    unpacked = directory / "unpacked"
    if (directory / "model.zip").exists():
        zipfile.ZipFile(directory / "model.zip").extractall(unpacked)
    return result, unpacked


def probabilities(table: pd.DataFrame) -> NDArray[np.float64]:
    return table.filter(like="probability_").to_numpy()


def test_raw_images_get_the_mean_probabilities_of_the_members(tmp_path: Path) -> None:
    members = [ConvNet(**CONV_NET).eval() for _ in range(2)]
    for member in members:
        for name, buffer in member.named_buffers():  # as training would leave them: not those of a fresh module
            if name.endswith("running_mean"):
                buffer.uniform_(-1.0, 1.0)
    made = assembly(ConvNet, DigitsDataModule, model_args=CONV_NET)
    result, unpacked = packaged(tmp_path, made, members)
    assert result == PackageResult(is_packaged=True)
    data = DigitsDataModule()
    images = data.load().images[data.splits.test[:7]]
    table = packaged_model.load(unpacked / DATA).predict(images)
    with torch.no_grad():
        inputs = data.preprocessing(torch.from_numpy(images))
        expected = torch.stack([member(inputs).double().softmax(1) for member in members]).mean(0).numpy()
    np.testing.assert_allclose(probabilities(table), expected, atol=1e-6)
    assert table["predicted"].tolist() == expected.argmax(1).tolist()
    assert list(table.columns) == ["predicted", *(f"probability_{label}" for label in range(10))]
    description = read_description(unpacked)
    assert (description.n_classes, description.has_preprocessing, description.has_class_names) == (10, True, False)
    assert [each.partition("==")[0] for each in description.requirements] == ["torch", "numpy", "pandas"]
    examples = np.load(unpacked / EXAMPLES_NAME)
    np.testing.assert_array_equal(examples, data.load().images[data.splits.train[:2]])
    assert [each.name for each in (unpacked / CODE).iterdir()] == [f"{description.loader_module}.py"]
    assert "lightning" not in json.dumps(description.requirements)


def test_images_one_by_one_get_what_they_get_together(tmp_path: Path) -> None:
    _, unpacked = packaged(tmp_path, assembly(), [Net()])
    model = packaged_model.load(unpacked / DATA)
    points = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)
    together = probabilities(model.predict(points))
    np.testing.assert_allclose(
        together[[0, 300, 599]], [probabilities(model.predict(points[[i]]))[0] for i in (0, 300, 599)]
    )
    np.testing.assert_allclose(together.sum(1), 1.0)
    with pytest.raises(ValueError, match=r"there must be an image, but `images` has shape \(0, 5\)"):
        model.predict(points[:0])


def test_preprocessing_that_is_not_offered_is_told(tmp_path: Path) -> None:
    result, unpacked = packaged(tmp_path, assembly(Net, NamedData), [Net()])
    (notice,) = result.notices
    assert "not raw images: NamedData offers no module `preprocessing`" in notice
    assert not read_description(unpacked).has_preprocessing
    table = packaged_model.load(unpacked / DATA).predict(np.load(unpacked / EXAMPLES_NAME))
    assert set(table["predicted_name"]) <= {"low", "high"}
    assert [["low", "high"][label] for label in table["predicted"]] == table["predicted_name"].tolist()


def test_raw_images_keep_their_dtype(tmp_path: Path) -> None:
    net = Net().eval()
    result, unpacked = packaged(tmp_path, assembly(Net, RawData), [net])
    assert result.notices == ()
    examples = np.load(unpacked / EXAMPLES_NAME)
    assert examples.dtype == np.uint8
    table = packaged_model.load(unpacked / DATA).predict(examples)
    with torch.no_grad():
        expected = net(torch.from_numpy(examples) * 2.0).softmax(1).numpy()
    np.testing.assert_allclose(probabilities(table), expected, atol=1e-6)


def test_what_cannot_be_exported_is_made_anew_from_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = tmp_path / "users"
    users.mkdir()
    (users / "users_module.py").write_text(USERS_MODULE)
    (users / "users_layers.py").write_text(USERS_LAYERS)
    monkeypatch.syspath_prepend(users)
    cls = importlib.import_module("users_module").Undecided
    nets = [cls(slope=3.0).eval(), cls(slope=3.0).eval()]
    result, unpacked = packaged(tmp_path, assembly(cls, RawData, model_args={"slope": 3.0}), nets)
    assert result.is_packaged
    (notice,) = result.notices
    assert "packaged with its code, since torch.export cannot do without it" in notice
    description = read_description(unpacked)
    code = {each.name for each in (unpacked / CODE).iterdir()}
    assert code == {"users_module.py", "users_layers.py", f"{description.loader_module}.py"}
    assert any(each.startswith("pytorch-lightning==") for each in description.requirements)
    shutil.rmtree(users)
    for name in ("users_module", "users_layers"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(unpacked / CODE)
    examples = np.load(unpacked / EXAMPLES_NAME)
    table = packaged_model.load(unpacked / DATA).predict(examples)
    assert sys.modules["users_layers"].__file__ == str(unpacked / CODE / "users_layers.py")
    with torch.no_grad():
        each = [net(torch.from_numpy(examples) * 2.0).softmax(1) for net in nets]
    np.testing.assert_allclose(probabilities(table), torch.stack(each).mean(0).numpy(), atol=1e-6)


def test_what_gives_no_scores_of_classes_is_not_packaged(tmp_path: Path) -> None:
    result, unpacked = packaged(tmp_path, assembly(Shrugs), [Shrugs()])
    assert (result.is_packaged, result.error) == (False, "")
    assert result.notices == (
        "no model was packaged: `forward(x)` must give scores of shape (N, C) with C >= 2, but gives (2,).",
    )
    assert not unpacked.exists()


def test_names_of_another_number_of_classes_are_left_out(tmp_path: Path) -> None:
    result, unpacked = packaged(tmp_path, assembly(Net, MisnamedData), [Net()])
    assert result.is_packaged
    assert result.notices[1] == "the data module's `class_names` are 3, but the model has 2 classes."
    assert not read_description(unpacked).has_class_names


def test_double_precision_takes_single_precision_images(tmp_path: Path) -> None:
    net = Net().double().eval()
    _, unpacked = packaged(tmp_path, assembly(trainer_args={"precision": "64-true"}), [net])
    examples = np.load(unpacked / EXAMPLES_NAME)
    assert examples.dtype == np.float32
    with torch.no_grad():
        expected = net(torch.from_numpy(examples).double()).softmax(1).numpy()
    table = packaged_model.load(unpacked / DATA).predict(examples)
    np.testing.assert_allclose(probabilities(table), expected, atol=1e-12)


def test_dropout_stays_on_where_it_does_in_the_test(tmp_path: Path) -> None:
    arguments = {**CONV_NET, "dropout": 0.5, "mc_dropout_samples": 3}
    result, unpacked = packaged(
        tmp_path, assembly(ConvNet, DigitsDataModule, model_args=arguments), [ConvNet(**arguments)]
    )
    assert result == PackageResult(is_packaged=True)
    model, images = packaged_model.load(unpacked / DATA), np.load(unpacked / EXAMPLES_NAME)
    first, second = (model.probabilities(images) for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_allclose(first.sum(1), 1.0)


def test_a_worker_that_does_not_see_the_study_uses_the_url(tmp_path: Path) -> None:
    url, elsewhere = (tmp_path / "bucket").as_uri(), str(tmp_path / "not here" / "model.zip")
    result, _ = packaged(tmp_path, assembly(), [Net()], file=elsewhere, file_url=url)
    assert result.is_packaged
    assert CheckpointStore(url).get("model.zip", tmp_path / "model.zip")
    assert zipfile.ZipFile(tmp_path / "model.zip").testzip() is None


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    order = PackageAssignment(
        assembly=assembly(), trial_keys=("a",), directories=(str(tmp_path),), file=str(tmp_path / "model.zip")
    )
    result = package_model(order)
    assert not result.is_packaged
    assert "there are no weights in" in result.error
