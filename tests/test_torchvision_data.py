"""torchvision's data sets, by the names of their classes; its files are written here in their true formats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_files import cifar10_files, coloured, write_files, write_mnist, write_svhn

from lightning_modules import CIFAR10DataModule, MNISTDataModule, TorchvisionDataModule
from lightning_modules.arguments import UnfitArgumentError

needs_torchvision = pytest.mark.vision


@needs_torchvision
def test_fake_data_are_split_by_shares(tmp_path: Path) -> None:
    arguments = {"size": 40, "image_size": [3, 9, 7], "num_classes": 4}
    data = TorchvisionDataModule(dataset="FakeData", directory=str(tmp_path), arguments=arguments, batch_size=8)
    assert data.image_shape == (3, 9, 7)
    assert data.n_classes == 4
    assert (len(data.splits.test), len(data.splits.val), len(data.splits.train)) == (12, 7, 21)
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (8, 3, 9, 7) and labels.shape == (8,)
    streamed = TorchvisionDataModule(
        dataset="FakeData", directory=str(tmp_path), arguments=arguments, in_memory=False, eval_batch_size=3
    )
    kept = next(iter(data.val_dataloader()))
    for ours, theirs in zip(next(iter(streamed.val_dataloader())), kept, strict=True):
        np.testing.assert_array_equal(ours, theirs[:3])


@needs_torchvision
def test_its_mnist_is_ours(tmp_path: Path) -> None:
    """`train` tells the splits; what it takes from files is what we do."""
    write_mnist(tmp_path / "MNIST" / "raw", packed=False)
    theirs = TorchvisionDataModule(dataset="MNIST", directory=str(tmp_path), channels=1)
    ours = MNISTDataModule(directory=str(tmp_path))
    np.testing.assert_array_equal(theirs.load().images, ours.load().images)
    np.testing.assert_array_equal(theirs.load().labels, ours.load().labels)
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(theirs.splits, split), getattr(ours.splits, split))


@needs_torchvision
def test_its_cifar10_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)  # these are not the published bytes
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    write_files(tmp_path / "cifar-10-batches-py", cifar10_files())
    theirs = TorchvisionDataModule(dataset="CIFAR10", directory=str(tmp_path))
    np.testing.assert_array_equal(theirs.load().images, CIFAR10DataModule(directory=str(tmp_path)).load().images)


@needs_torchvision
def test_a_class_that_takes_a_split_has_those_that_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)  # likewise
    write_svhn(tmp_path)
    data = TorchvisionDataModule(dataset="SVHN", directory=str(tmp_path), image_size=16)
    assert data.load().images.shape == (60, 3, 16, 16)
    assert data.open().is_val is None
    assert data.splits.test.tolist() == list(range(40, 60))
    assert data.open().labels[:40].tolist() == coloured(40, 1)[1].tolist()


@needs_torchvision
@pytest.mark.parametrize(
    ("arguments", "argument", "message"),
    [
        ({"dataset": "CIFAR01"}, "dataset", "`dataset` must be one of .*, but got 'CIFAR01'"),
        ({"dataset": "CIFAR10"}, "directory", r"CIFAR10\(root=.*raised RuntimeError: Dataset not found"),
        ({"dataset": "STL10"}, "directory", r"split='train'.*raised RuntimeError: Dataset not found"),
        ({"dataset": "FakeData", "arguments": {"sise": 3}}, "arguments", "raised TypeError: .*sise"),
        ({"dataset": "VOCDetection"}, "directory", "raised RuntimeError"),
    ],
)
def test_what_torchvision_does_not_find_is_told(
    arguments: dict[str, Any], argument: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnfitArgumentError, match=message) as caught:
        TorchvisionDataModule(directory=str(tmp_path), **arguments).setup()
    assert caught.value.argument == argument


def test_without_torchvision_the_extra_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UnfitArgumentError, match=r"torchvision is not installed .*: pip install 'zeroin\[vision\]'"):
        TorchvisionDataModule(dataset="FakeData", directory=str(tmp_path)).setup()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "no name"}, "`dataset` must be the name of a class of torchvision.datasets, but got 'no name'"),
        ({"dataset": "CIFAR10", "download": "yes"}, "`download` must be true or false, but got 'yes'"),
    ],
)
def test_refuses_arguments_out_of_bounds(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        TorchvisionDataModule(directory=str(tmp_path), **arguments)
