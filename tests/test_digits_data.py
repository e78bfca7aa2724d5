from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from lightning_modules.data.digits_data import DigitsDataModule
from lightning_modules.data.tensor_loader import TensorLoader

N_IMAGES = 1797


@pytest.fixture(scope="module")
def data() -> DigitsDataModule:
    module = DigitsDataModule()
    module.setup()
    return module


def images_of(loader: TensorLoader) -> torch.Tensor:
    return torch.cat([images for images, _ in loader])


def labels_of(loader: TensorLoader) -> torch.Tensor:
    return torch.cat([labels for _, labels in loader])


def as_set(images: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(image.flatten().tolist()) for image in images}


def test_splits_are_disjoint_exhaustive_and_of_the_stated_shares(data: DigitsDataModule) -> None:
    parts = (data.splits.train, data.splits.val, data.splits.test)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(N_IMAGES))
    assert len(data.splits.test) == round(0.3 * N_IMAGES)
    assert len(data.splits.val) == round(0.25 * (N_IMAGES - len(data.splits.test)))


def test_every_split_has_every_class_at_its_share(data: DigitsDataModule) -> None:
    labels = load_digits().target
    for part in (data.splits.train, data.splits.val, data.splits.test):
        counts, all_counts = np.bincount(labels[part], minlength=10), np.bincount(labels, minlength=10)
        assert np.all(np.abs(counts - all_counts * len(part) / N_IMAGES) < 2.0)


@pytest.mark.parametrize("changed", [{"val_share": 0.4}, {"batch_size": 7}, {"max_shift": 1}, {"eval_batch_size": 3}])
def test_nothing_but_its_seed_and_share_moves_the_test_split(changed: dict[str, Any], data: DigitsDataModule) -> None:
    torch.manual_seed(123)
    np.random.seed(123)
    assert np.array_equal(DigitsDataModule(**changed).splits.test, data.splits.test)


def test_another_split_seed_moves_every_split(data: DigitsDataModule) -> None:
    other = DigitsDataModule(split_seed=1).splits
    assert not np.array_equal(other.test, data.splits.test)
    assert not np.array_equal(other.val, data.splits.val)


def test_loaders_serve_their_splits_in_order(data: DigitsDataModule) -> None:
    target = torch.from_numpy(load_digits().target)
    for loader, part in (
        (data.train_eval_dataloader(), data.splits.train),
        (data.val_dataloader(), data.splits.val),
        (data.test_dataloader(), data.splits.test),
    ):
        assert torch.equal(labels_of(loader), target[torch.from_numpy(part)])
        assert images_of(loader).shape == (len(part), 1, 8, 8)
        assert not loader.shuffle


def test_images_are_the_digits_standardized_by_the_train_split_alone(data: DigitsDataModule) -> None:
    train = images_of(data.train_eval_dataloader())
    assert train.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert train.std().item() == pytest.approx(1.0, abs=1e-5)
    pixels = load_digits().images
    mean, std = pixels[data.splits.train].mean(), pixels[data.splits.train].std()
    for loader, part in ((data.val_dataloader(), data.splits.val), (data.test_dataloader(), data.splits.test)):
        np.testing.assert_allclose(images_of(loader)[:, 0].numpy(), (pixels[part] - mean) / std, rtol=1e-3, atol=1e-4)


def test_train_loader_serves_the_train_split_shuffled(data: DigitsDataModule) -> None:
    loader = data.train_dataloader()
    images = images_of(loader)
    in_order = images_of(data.train_eval_dataloader())
    assert loader.batch_size == 64
    assert not torch.equal(images, in_order)
    assert as_set(images) == as_set(in_order)


def test_train_and_val_together_are_preprocessed_as_apart(data: DigitsDataModule) -> None:
    loader = data.train_val_dataloader()
    assert loader.shuffle
    assert len(loader.dataset) == len(data.splits.train) + len(data.splits.val)
    apart = torch.cat([images_of(data.train_eval_dataloader()), images_of(data.val_dataloader())])
    assert as_set(images_of(loader)) == as_set(apart)


def test_only_images_to_train_on_are_shifted() -> None:
    shifting, still = DigitsDataModule(max_shift=1), DigitsDataModule()
    known = as_set(images_of(still.train_eval_dataloader()))
    assert as_set(images_of(shifting.train_eval_dataloader())) == known
    torch.manual_seed(0)
    moved = images_of(shifting.train_dataloader())
    background = images_of(still.train_eval_dataloader()).min().item()
    # Of nine equally likely shifts one is none.
    assert 0.7 < sum(image not in known for image in as_set(moved)) / len(moved) < 0.95
    assert moved.min().item() == pytest.approx(background)
    assert torch.equal(images_of(shifting.val_dataloader()), images_of(still.val_dataloader()))


def test_loaders_work_without_setup_and_setup_twice_changes_nothing(data: DigitsDataModule) -> None:
    module = DigitsDataModule()
    before = images_of(module.val_dataloader())
    module.setup("fit")
    module.setup("test")
    assert torch.equal(images_of(module.val_dataloader()), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1, but got 0"),
        ({"eval_batch_size": "8"}, "`eval_batch_size`"),
        ({"test_share": 1.0}, r"`test_share` must be a number in \(0, 1\), but got 1\.0"),
        ({"val_share": 0.0}, "`val_share`"),
        ({"split_seed": -1}, "`split_seed`"),
        ({"max_shift": 0.5}, "`max_shift`"),
    ],
)
def test_refuses_arguments_out_of_bounds(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DigitsDataModule(**arguments)
