"""Data sets are read from the files in which they are published, wherever their users have put them."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import (
    cifar10_files,
    cifar100_files,
    coloured,
    python2_pickle,
    write_archive,
    write_files,
    write_mnist,
    write_svhn,
)

import lightning_modules
from lightning_modules import CIFAR10DataModule, CIFAR100DataModule, MNISTDataModule, SVHNDataModule
from lightning_modules.arguments import UnfitArgumentError
from lightning_modules.data.cifar_pickles import CifarPickleError, read_batch
from lightning_modules.data.image_data import LabelledImages


def check_parts(loaded: LabelledImages, *parts: tuple[np.ndarray, np.ndarray]) -> None:
    """Images and labels are these, one part after the other, and the last part is the test split."""
    images, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert loaded.images.dtype == np.uint8
    np.testing.assert_array_equal(loaded.images, images)
    np.testing.assert_array_equal(loaded.labels, labels)
    assert loaded.is_test is not None
    np.testing.assert_array_equal(loaded.is_test, np.arange(len(labels)) >= len(labels) - len(parts[-1][1]))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("name", "folder"),
    [("MNIST", ""), ("MNIST", "MNIST/raw"), ("FashionMNIST", "FashionMNIST/raw"), ("KMNIST", "KMNIST/raw")],
)
def test_mnist_and_its_kin(name: str, folder: str, packed: bool, tmp_path: Path) -> None:
    write_mnist(tmp_path / folder, packed=packed)
    data = getattr(lightning_modules, f"{name}DataModule")(directory=str(tmp_path))
    train, test = coloured(60, 1, 28, 28), coloured(20, 28, 28, seed=1)
    check_parts(data.load(), (train[0], train[1]), (test[0][:, None], test[1]))
    assert (data.n_classes, data.image_shape) == (10, (1, 28, 28))
    assert data.splits.test.tolist() == list(range(60, 80))
    assert len(data.splits.val) == 15


def test_batches_are_standardized_and_8_bit_images_trained_on(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = MNISTDataModule(directory=str(tmp_path), batch_size=45)
    images, labels = next(iter(data.train_dataloader()))
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert images.mean().item() == pytest.approx(0.0, abs=1e-4)
    assert images.std().item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "not all of a gzip file"),
        (
            lambda content: gzip.compress(b"\0\0\x0d" + gzip.decompress(content)[3:]),
            "must begin with the bytes 00 00 08 03",
        ),
        (
            lambda content: gzip.compress(gzip.decompress(content)[:-1]),
            "it says that it holds 47040 values, but holds 47039",
        ),
        (lambda content: b"<html>", "must begin with the bytes 00 00 08 03"),
    ],
)
def test_a_damaged_idx_file_is_named(damage: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnfitArgumentError, match=message) as caught:
        MNISTDataModule(directory=str(tmp_path)).load()
    assert str(path) in str(caught.value)


def _cifar_parts(n: int, n_classes: int, n_files: int) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = [coloured(n, 3072, n_classes=n_classes, seed=seed) for seed in range(n_files)]
    return [(images.reshape(-1, 3, 32, 32), labels) for images, labels in parts]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("place", ["archive", "folder", "files"])
def test_cifar10(place: str, binary: bool, tmp_path: Path) -> None:
    files = cifar10_files(binary=binary)
    folder = "cifar-10-batches-bin" if binary else "cifar-10-batches-py"
    if place == "archive":
        write_archive(tmp_path / f"cifar-10-{'binary' if binary else 'python'}.tar.gz", folder, files)
    else:
        write_files(tmp_path / folder if place == "folder" else tmp_path, files)
    data = CIFAR10DataModule(directory=str(tmp_path))
    check_parts(data.load(), *_cifar_parts(10, 10, 6))
    assert (data.n_classes, data.image_shape) == (10, (3, 32, 32))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("labels", ["fine", "coarse"])
def test_cifar100(labels: str, binary: bool, tmp_path: Path) -> None:
    write_archive(
        tmp_path / f"cifar-100-{'binary' if binary else 'python'}.tar.gz",
        f"cifar-100-{'binary' if binary else 'python'}",
        cifar100_files(binary=binary),
    )
    data = CIFAR100DataModule(directory=str(tmp_path), labels=labels)
    parts = [(images, classes // (1 if labels == "fine" else 5)) for images, classes in _cifar_parts(200, 100, 2)]
    check_parts(data.load(), *parts)
    assert data.n_classes == (100 if labels == "fine" else 20)


def test_the_pickles_of_these_tests_are_those_of_python_2() -> None:
    """As NumPy itself reads them."""
    images, labels = coloured(3, 3072)
    content = python2_pickle({"data": images, "labels": labels.tolist()})
    known = pickle.loads(content, encoding="bytes")
    np.testing.assert_array_equal(known[b"data"], images)
    assert known[b"labels"] == labels.tolist()


class Planted:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self._marker),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_planted_pickle_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    files = cifar10_files()
    files["data_batch_3"] = pickle.dumps({"data": Planted(tmp_path / "marker")}, protocol=protocol)
    write_files(tmp_path / "files", files)
    with pytest.raises(UnfitArgumentError, match=r"data_batch_3 cannot be used: .*mkdir, which is not loaded"):
        CIFAR10DataModule(directory=str(tmp_path / "files")).load()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"cbuiltins\neval\n(U\x011tR.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        python2_pickle({"data": coloured(2, 4)[0]})[:-20],
        python2_pickle({"data": coloured(2, 4)[0]}).replace(b"U\x02u1", b"U\x02O8"),
        b"\x80\x02].",
    ],
)
def test_what_is_no_batch_is_refused(content: bytes) -> None:
    with pytest.raises(CifarPickleError):
        read_batch(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1, 2]}, "no list of 10 integers under 'labels'"),
        ({"labels": ["a"] * 10}, "no list of 10 integers under 'labels'"),
        ({"data": coloured(10, 100)[0]}, "no images of 3072 values under 'data'"),
    ],
)
def test_a_batch_of_other_content_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    images, labels = coloured(10, 3072)
    whole = {"data": images, "labels": labels.tolist()}
    write_files(tmp_path, {**cifar10_files(), "test_batch": python2_pickle(whole | change)})
    with pytest.raises(UnfitArgumentError, match=f"test_batch cannot be used: it has {message}"):
        CIFAR10DataModule(directory=str(tmp_path)).load()


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    write_archive(path, "cifar-10-batches-py", cifar10_files())
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(UnfitArgumentError, match=r"cifar-10-python.tar.gz cannot be used: it is not all of an archive"):
        CIFAR10DataModule(directory=str(tmp_path)).load()


def test_svhn_has_class_10_for_a_0(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    parts = [coloured(n, 32, 32, 3, seed=seed) for seed, n in enumerate((40, 20))]
    data = SVHNDataModule(directory=str(tmp_path))
    check_parts(data.load(), *[(images.transpose(0, 3, 1, 2), labels) for images, labels in parts])
    assert data.n_classes == 10
    (tmp_path / "test_32x32.mat").write_bytes(b"no MATLAB file")
    (tmp_path / "other").mkdir()
    (tmp_path / "test_32x32.mat").rename(tmp_path / "other" / "test_32x32.mat")
    (tmp_path / "train_32x32.mat").rename(tmp_path / "other" / "train_32x32.mat")
    with pytest.raises(UnfitArgumentError, match=r"test_32x32.mat cannot be used: it is no MATLAB file"):
        SVHNDataModule(directory=str(tmp_path / "other")).load()


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100", "SVHN"])
def test_missing_files_are_named_with_where_they_belong_and_are_published(name: str, tmp_path: Path) -> None:
    data = getattr(lightning_modules, f"{name}DataModule")(directory=str(tmp_path / "nowhere"))
    expected = {"MNIST": "t10k-labels-idx1-ubyte", "CIFAR": f"{name[:5].lower()}-", "SVHN": "test_32x32.mat"}
    with pytest.raises(UnfitArgumentError, match=r"which does not exist\. Expected: ") as caught:
        data.setup()
    (fragment,) = [each for key, each in expected.items() if key in name]
    assert fragment in str(caught.value)
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert "published at http" in str(caught.value)
    assert (caught.value.owner, caught.value.argument) == ("data", "directory")


@pytest.mark.parametrize("directory", ["", 3, None])
def test_a_directory_is_a_path(directory: Any) -> None:
    with pytest.raises(ValueError, match="`directory` must be the path of a directory"):
        MNISTDataModule(directory=directory)
