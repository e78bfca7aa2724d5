"""Image folders and arrays: what is read of them, and that streaming them changes nothing but where the images are."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from published_files import coloured, write_folders

from lightning_modules import ImageFolderDataModule, NumpyDataModule, StreamableImageDataModule, StreamLoader
from lightning_modules.arguments import UnfitArgumentError
from lightning_modules.callbacks.train_subset import TrainSubset
from lightning_modules.data import streamable_data
from lightning_modules.data.image_files import ImageShape, image_array
from lightning_modules.data.image_source import ImageSource, JoinedSource
from lightning_modules.data.stream_loader import SourceDataset

Batches = list[tuple[torch.Tensor, torch.Tensor]]


class Numbered(ImageSource):
    """Images that hold their own number."""

    def __init__(self, n: int, *, first: int = 0) -> None:
        self.first = first
        self._n = n

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self._n, 1, 2, 2

    def read(self, indices: np.ndarray) -> np.ndarray:
        assert indices.size == 0 or (indices.min() >= 0 and indices.max() < self._n)
        return np.broadcast_to((self.first + indices)[:, None, None, None], (len(indices), 1, 2, 2)).astype(np.int64)


class Unreadable(Numbered):
    def read(self, indices: np.ndarray) -> np.ndarray:
        raise UnfitArgumentError("5.png is no image.", argument="image_size")


def numbered_loader(n: int, source: ImageSource | None = None, **options: Any) -> StreamLoader:
    labels, rows = np.arange(100, 100 + n), np.arange(n)
    settings: dict[str, Any] = {"device": torch.device("cpu"), "transform": lambda images: images, "batch_size": 4}
    return StreamLoader(SourceDataset(source or Numbered(n), labels, rows), **(settings | options))


def batches_of(data: StreamableImageDataModule) -> list[Batches]:
    """An epoch of every loader."""
    torch.manual_seed(3)
    loaders = (
        *(data.train_dataloader(), data.train_eval_dataloader(), data.val_dataloader()),
        *(data.test_dataloader(), data.train_val_dataloader()),
    )
    return [list(loader) for loader in loaders]


def assert_same(some: list[Batches], others: list[Batches]) -> None:
    for ours, theirs in zip(some, others, strict=True):
        for (images, labels), (other_images, other_labels) in zip(ours, theirs, strict=True):
            torch.testing.assert_close(images, other_images, rtol=0.0, atol=0.0)
            torch.testing.assert_close(labels, other_labels, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_shift": 1, "flip_probability": 0.5},
        {"mixup_alpha": 0.5},
        pytest.param({"n_loader_workers": 1, "max_brightness": 0.3}, marks=pytest.mark.slow),
    ],
)
def test_streamed_batches_are_those_in_memory(options: dict[str, Any], tmp_path: Path) -> None:
    write_folders(tmp_path)
    settings = {"directory": str(tmp_path), "batch_size": 5, "eval_batch_size": 4, **options}
    kept = ImageFolderDataModule(in_memory=True, **settings)
    streamed = ImageFolderDataModule(in_memory=False, **settings)
    assert streamed.is_streamed and not kept.is_streamed
    assert_same(batches_of(streamed), batches_of(kept))
    is_random = bool(options.keys() - {"n_loader_workers"})  # else no rank need draw numbers of its own
    assert streamed.train_dataloader().is_random is is_random


@settings(max_examples=15)
@given(data=st.data(), n_ranks=st.integers(1, 4), batch_size=st.integers(1, 9), shuffle=st.booleans())
def test_ranks_share_out_what_is_streamed(data: st.DataObject, n_ranks: int, batch_size: int, shuffle: bool) -> None:
    n = data.draw(st.integers(n_ranks, 40))
    found: list[int] = []
    for rank in range(n_ranks):
        torch.manual_seed(1)
        loader = numbered_loader(n, batch_size=batch_size, shuffle=shuffle, rank=rank, n_ranks=n_ranks)
        batches = list(loader)
        assert len(batches) == len(loader)
        for images, labels in batches:
            assert torch.equal(images[:, 0, 0, 0] + 100, labels)
            found += labels.tolist()
    n_last = n % (batch_size * n_ranks)
    is_left_out = shuffle and batch_size > 1 and 0 < n_last < min(2 * n_ranks, n)  # one image for some rank
    assert len(set(found)) == n - n_last * is_left_out
    assert shuffle or sorted(found) == list(range(100, 100 + n))


@pytest.mark.parametrize("n_workers", [0, 1])
def test_reading_draws_no_random_number(n_workers: int) -> None:
    state = torch.get_rng_state()
    assert [labels.tolist() for _, labels in numbered_loader(6, n_workers=n_workers)] == [
        [100, 101, 102, 103],
        [104, 105],
    ]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_what_is_wrong_with_a_file_is_told_as_it_was_found(n_workers: int) -> None:
    with pytest.raises(UnfitArgumentError, match=r"^5\.png is no image\.$") as caught:
        list(numbered_loader(6, Unreadable(6), n_workers=n_workers))
    assert caught.value.argument == "image_size"


def test_the_size_decides_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folders(tmp_path)
    n_bytes = 24 * 3 * 8 * 10 * 4
    for limit, is_streamed in ((n_bytes, False), (n_bytes - 1, True)):
        monkeypatch.setattr(streamable_data, "IN_MEMORY_BYTES", limit)
        assert ImageFolderDataModule(directory=str(tmp_path)).is_streamed is is_streamed


def test_statistics_of_a_streamed_train_split_are_read_once_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "all.npz", images=coloured(40, 6, 6)[0], labels=coloured(40, 6, 6)[1])
    first = NumpyDataModule(directory=str(tmp_path), in_memory=False)
    first.setup()
    monkeypatch.setattr(streamable_data, "pixel_statistics", None)
    again = NumpyDataModule(directory=str(tmp_path), in_memory=False)
    again.setup()
    assert again.preprocessing.mean.item() == first.preprocessing.mean.item()
    with pytest.raises(TypeError):
        NumpyDataModule(directory=str(tmp_path), in_memory=False, split_seed=1).setup()


def test_the_preprocessing_of_a_large_stream_is_fitted_to_some_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = coloured(200, 6, 6)
    np.savez(tmp_path / "all.npz", images=images, labels=labels)
    monkeypatch.setattr(streamable_data, "MOST_FITTED_IMAGES", 50)
    data = NumpyDataModule(directory=str(tmp_path), in_memory=False)
    mean = data.preprocessing.mean.item()
    of_all = images[data.splits.train].mean()
    assert mean != pytest.approx(of_all, abs=1e-4)
    assert mean == pytest.approx(of_all, rel=0.1)


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_gap_is_measured_on_samples_of_all_classes_even_if_files_are_sorted(
    in_memory: bool, tmp_path: Path
) -> None:
    labels = np.repeat(np.arange(10), 30)
    np.savez(tmp_path / "all.npz", images=coloured(300, 4, 4)[0], labels=labels)
    data = NumpyDataModule(directory=str(tmp_path), in_memory=in_memory, eval_batch_size=16)
    options: dict[str, Any] = {"n_samples": 60, "seed": 0, "cache_bytes": 0}
    subset = list(TrainSubset(data.train_eval_dataloader(), **options))
    found = torch.cat([labels for _, labels in subset])
    assert len(found) == 60
    assert set(found.tolist()) == set(range(10))
    parts = [TrainSubset(data.train_eval_dataloader(), rank=rank, n_ranks=2, **options) for rank in (0, 1)]
    assert torch.equal(torch.cat([labels for part in parts for _, labels in part]), found)


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_joined_sources_are_read_in_the_order_asked_for(sizes: list[int], data: st.DataObject) -> None:
    firsts = np.cumsum([0, *sizes])
    joined = JoinedSource([Numbered(n, first=int(first)) for n, first in zip(sizes, firsts, strict=False)])
    assert joined.shape == (sum(sizes), 1, 2, 2)
    asked = np.array(data.draw(st.lists(st.integers(0, sum(sizes) - 1), max_size=12)), dtype=np.int64)
    assert joined.read(asked)[:, 0, 0, 0].tolist() == asked.tolist()


def test_a_folder_is_a_class_and_other_files_are_left_alone(tmp_path: Path) -> None:
    write_folders(tmp_path, n=20, classes=("b", "a"))
    (tmp_path / "a" / "deeper").mkdir()
    (tmp_path / "a" / "0.png").rename(tmp_path / "a" / "deeper" / "0.PNG")
    for name in ("notes.txt", ".hidden.png"):
        (tmp_path / "a" / name).write_text("no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "a" / ".ipynb_checkpoints" / "1-checkpoint.png").write_bytes((tmp_path / "a" / "1.png").read_bytes())
    data = ImageFolderDataModule(directory=str(tmp_path), in_memory=True)
    loaded = data.load()
    assert data.class_names == ("a", "b")
    assert loaded.images.shape == (40, 3, 8, 10)
    assert [int((loaded.labels == label).sum()) for label in (0, 1)] == [20, 20]
    brightness = loaded.images.mean(axis=(1, 2, 3))
    assert brightness[loaded.labels == 1].max() < brightness[loaded.labels == 0].min()  # `a` was written brighter
    assert len(set(loaded.labels[:10])) == 2  # mixed, not sorted by class
    assert (loaded.is_val, loaded.is_test) == (None, None)


@pytest.mark.parametrize(
    ("names", "n_val", "n_test"),
    [
        (("train", "val", "test"), 8, 8),
        (("train", "valid"), 8, 10),
        (("train", "test"), 8, 8),
        (("train", "car"), 10, 17),
    ],
)
def test_splits_in_folders_are_the_data_sets_own(
    names: tuple[str, ...], n_val: int, n_test: int, tmp_path: Path
) -> None:
    write_folders(tmp_path / names[0], n=16)
    for name in names[1:]:
        write_folders(tmp_path / name, n=12 if name == "car" else 4)
    data = ImageFolderDataModule(directory=str(tmp_path))
    # Beside another folder, `train` is a class like that one.
    assert data.class_names == (("car", "train") if "car" in names else ("cat", "dog"))
    assert (len(data.splits.val), len(data.splits.test)) == (n_val, n_test)
    everything = np.concatenate([data.splits.train, data.splits.val, data.splits.test])
    assert sorted(everything.tolist()) == list(range(len(data.open().labels)))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_scaled_and_cropped_without_distortion(channels: int) -> None:
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:, 18:62] = 200  # the square in the middle, which is what is left
    shape = ImageShape(channels=channels, height=20, width=20)
    array = image_array(Image.fromarray(pixels), shape)
    assert array.shape == (channels, 20, 20)
    assert array.min() == 200
    with_alpha = image_array(Image.fromarray(pixels).convert("RGBA"), shape)
    np.testing.assert_array_equal(with_alpha, array)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_images_keep_all_of_their_shades(channels: int, tmp_path: Path) -> None:
    shades = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(shades).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        array = image_array(image, ImageShape(channels=channels))
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, np.broadcast_to(np.arange(256).reshape(16, 16), (channels, 16, 16)))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_images_of_values_without_a_known_range_are_refused(dtype: type, tmp_path: Path) -> None:
    write_folders(tmp_path)
    Image.fromarray(np.full((8, 10), 1000, dtype=dtype)).save(tmp_path / "dog" / "x.tiff")
    with pytest.raises(UnfitArgumentError, match=r"x\.tiff cannot be used: .* 32 bits a value"):
        ImageFolderDataModule(directory=str(tmp_path)).load()


def test_images_of_different_sizes_need_an_image_size(tmp_path: Path) -> None:
    write_folders(tmp_path, n=3)
    write_folders(tmp_path / "more", n=1, classes=("owl",), size=(12, 12))
    (tmp_path / "more" / "owl").rename(tmp_path / "owl")
    (tmp_path / "more").rmdir()
    with pytest.raises(UnfitArgumentError, match="`image_size` must be given where images differ in size") as caught:
        ImageFolderDataModule(directory=str(tmp_path)).setup()
    assert caught.value.argument == "image_size"
    data = ImageFolderDataModule(directory=str(tmp_path), image_size=[6, 9])
    assert data.load().images.shape == (7, 3, 6, 9)
    assert data.image_shape == (3, 6, 9)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "dog" / "x.jpg").write_bytes(b"\xff\xd8 half an image")
    with pytest.raises(UnfitArgumentError, match=r"x\.jpg cannot be used: it is no image that can be read"):
        ImageFolderDataModule(directory=str(tmp_path), image_size=8).load()


def test_folders_that_hold_no_classes_are_told(tmp_path: Path) -> None:
    def told() -> str:
        with pytest.raises(UnfitArgumentError, match="is no directory of classes: ") as caught:
            ImageFolderDataModule(directory=str(tmp_path / "images")).setup()
        return str(caught.value)

    assert "it does not exist" in told()
    write_folders(tmp_path / "images" / "train", classes=("cat",))
    assert "must be two classes at least" in told()
    (tmp_path / "images" / "train" / "dog").mkdir()
    assert "dog holds no image" in told()


def test_a_validation_class_that_is_not_trained_is_told(tmp_path: Path) -> None:
    write_folders(tmp_path / "train")
    write_folders(tmp_path / "val", classes=("cat", "cow"))
    with pytest.raises(UnfitArgumentError, match=r"val has classes that .*train has not: cow"):
        ImageFolderDataModule(directory=str(tmp_path)).setup()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "`image_size` must be an integer >= 1, but got 0"),
        ({"image_size": [3, 4, 5]}, "`image_size` must be one number or height and width"),
        ({"channels": 4}, r"`channels` must be 1 \(grey\) or 3 \(colour\), but got 4"),
        ({"in_memory": "yes"}, "`in_memory` must be true, false or 'auto', but got 'yes'"),
        ({"n_loader_workers": -1}, "`n_loader_workers` must be an integer >= 0, but got -1"),
    ],
)
def test_refuses_arguments_out_of_bounds(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageFolderDataModule(directory="images", **arguments)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [((6, 7), (1, 6, 7)), ((3, 6, 7), (3, 6, 7)), ((6, 7, 3), (3, 6, 7))],
)
def test_arrays_of_any_layout(shape: tuple[int, ...], expected: tuple[int, ...], packed: bool, tmp_path: Path) -> None:
    images, labels = coloured(20, *shape)
    test_images, test_labels = coloured(8, *shape, seed=1)
    arrays = {"images": images, "labels": labels, "test_images": test_images, "test_labels": test_labels[:, None]}
    if packed:
        np.savez_compressed(tmp_path / "all.npz", **arrays)
    else:
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
    data = NumpyDataModule(directory=str(tmp_path / "all.npz" if packed else tmp_path))
    loaded = data.load()
    whole = np.concatenate([images, test_images]).reshape(28, *shape)
    whole = whole[:, None] if len(shape) == 2 else whole if shape == expected else whole.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(loaded.images, whole)
    assert loaded.images.shape[1:] == data.image_shape == expected
    assert loaded.labels.tolist() == [*labels, *test_labels]
    assert data.splits.test.tolist() == list(range(20, 28))
    assert len(data.splits.val) == 5


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<u4", "u8", ">f4", ">i2", "g", "?"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_arrays_of_types_that_torch_does_not_compute_with(dtype: str, in_memory: bool, tmp_path: Path) -> None:
    images, labels = coloured(40, 5, 5)
    written = images.astype(dtype)
    np.savez(tmp_path / "all.npz", images=written, labels=labels.astype(">i4"))
    data = NumpyDataModule(
        directory=str(tmp_path), in_memory=in_memory, preprocessing_scheme="none", max_brightness=1e-9
    )
    data.setup()
    batch, _ = next(iter(data.train_eval_dataloader()))
    np.testing.assert_array_equal(batch[:, 0], written[data.splits.train].astype(np.float32))
    assert len(list(data.train_dataloader())) == 1


def test_arrays_as_others_name_them(tmp_path: Path) -> None:
    images, labels = coloured(12, 5, 5)
    medmnist = {
        f"{split}_{kind}": each
        for split in ("train", "val", "test")
        for kind, each in (("images", images), ("labels", labels[:, None]))
    }
    np.savez(tmp_path / "medmnist.npz", **medmnist)
    data = NumpyDataModule(directory=str(tmp_path))
    assert [len(each) for each in (data.splits.train, data.splits.val, data.splits.test)] == [12, 12, 12]


def test_streamed_arrays_stay_in_their_file(tmp_path: Path) -> None:
    images, labels = coloured(100, 20, 20)
    np.save(tmp_path / "images.npy", images.astype(np.float64))
    np.save(tmp_path / "labels.npy", labels)
    source = NumpyDataModule(directory=str(tmp_path), in_memory=False).open().source
    sent = pickle.dumps(source)
    assert len(sent) < 10_000
    np.testing.assert_array_equal(pickle.loads(sent).read(np.array([7, 3]))[:, 0], images[[7, 3]])


@pytest.mark.parametrize(
    ("arrays", "argument", "message"),
    [
        ({}, "directory", "There are no arrays to train on in .*: of what it takes, there is nothing"),
        ({"images": np.zeros((4, 3, 3))}, "directory", "there is images"),
        ({"images": np.zeros((4, 3)), "labels": np.arange(4)}, "directory", r"images must be real numbers of shape"),
        ({"images": np.zeros((4, 3, 3)), "labels": np.arange(5)}, "directory", "labels must be 4 integers from 0 on"),
        ({"images": np.zeros((4, 3, 3)), "labels": np.arange(4) - 1}, "directory", "from -1 on"),
        ({"images": np.zeros((4, 3, 3)), "labels": np.ones(4)}, "directory", "float64 of shape"),
        ({"images": np.zeros((4, 3, 9, 3)), "labels": np.arange(4)}, "layout", "`layout` must be channels_first or"),
        (
            {
                "images": np.zeros((4, 3, 3)),
                "labels": np.arange(4),
                "x_test": np.zeros((4, 9, 9)),
                "y_test": np.arange(4),
            },
            "directory",
            r"All images must be of one size \(C, H, W\)",
        ),
    ],
)
def test_arrays_that_cannot_be_used_are_told(
    arrays: dict[str, np.ndarray], argument: str, message: str, tmp_path: Path
) -> None:
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(UnfitArgumentError, match=message) as caught:
        NumpyDataModule(directory=str(tmp_path)).setup()
    assert caught.value.argument == argument


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.array([{}], dtype=object))
    np.save(tmp_path / "labels.npy", np.arange(1))
    with pytest.raises(UnfitArgumentError, match=r"images.npy cannot be used: it is no .npy file of a plain array"):
        NumpyDataModule(directory=str(tmp_path)).setup()
