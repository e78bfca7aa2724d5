from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_modules.tensor_loader import TensorLoader


def dataset_of(n: int) -> TensorDataset:
    """Images that hold their own index, and it again as label."""
    index = torch.arange(n)
    return TensorDataset(index.float().reshape(n, 1, 1, 1).expand(n, 1, 2, 2), index)


def order(loader: TensorLoader) -> list[int]:
    return [int(label) for _, labels in loader for label in labels]


@given(n=st.integers(1, 60), batch_size=st.integers(1, 70), shuffle=st.booleans())
def test_an_epoch_is_every_sample_once_in_full_batches_but_the_last(n: int, batch_size: int, shuffle: bool) -> None:
    loader = TensorLoader(dataset_of(n), batch_size=batch_size, shuffle=shuffle)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(len(labels) == batch_size for _, labels in batches[:-1])
    for images, labels in batches:
        assert images.shape == (len(labels), 1, 2, 2)
        assert torch.equal(images[:, 0, 0, 0], labels.float())
    assert sorted(order(loader)) == list(range(n))


def test_without_shuffling_the_order_is_the_datasets_and_no_random_number_is_drawn() -> None:
    state = torch.get_rng_state()
    assert order(TensorLoader(dataset_of(10), batch_size=3)) == list(range(10))
    assert torch.equal(torch.get_rng_state(), state)


def test_each_epoch_has_an_order_of_its_own_that_the_global_seed_decides() -> None:
    loader = TensorLoader(dataset_of(50), batch_size=8, shuffle=True)
    torch.manual_seed(1)
    first, second = order(loader), order(loader)
    assert first != second
    torch.manual_seed(1)
    assert [order(loader), order(loader)] == [first, second]


def test_the_order_is_drawn_with_the_first_batch() -> None:
    """A seed set between making the iterator and training counts, as when Lightning starts an epoch."""
    loader = TensorLoader(dataset_of(50), batch_size=50, shuffle=True)
    orders = []
    for stale_seed in (5, 6):
        torch.manual_seed(stale_seed)
        batches = iter(loader)
        torch.manual_seed(0)
        orders.append(next(batches)[1])
    assert torch.equal(*orders)


def test_transform_sees_whole_batches_of_images_and_leaves_the_dataset_alone() -> None:
    shapes = []

    def add_hundred(images: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(images.shape))
        return images + 100.0

    loader = TensorLoader(dataset_of(5), batch_size=3, transform=add_hundred)
    for images, labels in loader:
        assert torch.equal(images[:, 0, 0, 0], labels + 100.0)
    assert shapes == [(3, 1, 2, 2), (2, 1, 2, 2)]
    assert loader.dataset[4][0].max().item() == 4.0


def test_dataset_is_a_map_style_one() -> None:
    loader = TensorLoader(dataset_of(10), batch_size=4)
    images, labels = next(iter(DataLoader(Subset(loader.dataset, [7, 2]), batch_size=2)))
    assert labels.tolist() == [7, 2]
    assert images[:, 0, 0, 0].tolist() == [7.0, 2.0]


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True])
def test_refuses_a_wrong_batch_size(batch_size: int) -> None:
    with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1"):
        TensorLoader(dataset_of(3), batch_size=batch_size)


def test_refuses_a_dataset_that_is_no_pair() -> None:
    with pytest.raises(ValueError, match="images and labels, but got 1 tensors"):
        TensorLoader(TensorDataset(torch.zeros(3)), batch_size=1)
