from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_modules.data.tensor_loader import TensorLoader


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
    if shuffle and n > batch_size > 1 and n % batch_size == 1:
        n_left = set(range(n)) - {int(label) for _, labels in batches for label in labels}
        assert len(n_left) == 1  # a batch of one sample, on which batch normalization cannot train
        assert sum(len(labels) for _, labels in batches) == n - 1
        return
    assert len(batches) == len(loader)
    assert all(len(labels) == batch_size for _, labels in batches[:-1])
    for images, labels in batches:
        assert images.shape == (len(labels), 1, 2, 2)
        assert torch.equal(images[:, 0, 0, 0], labels.float())
    assert sorted(order(loader)) == list(range(n))


def test_a_batch_of_one_sample_is_left_out_of_training_another_one_in_every_epoch() -> None:
    loader = TensorLoader(dataset_of(9), batch_size=4, shuffle=True)
    torch.manual_seed(0)
    left = [set(range(9)) - set(order(loader)) for _ in range(20)]
    assert {len(each) for each in left} == {1}
    assert len(set.union(*left)) > 4
    assert [len(labels) for _, labels in TensorLoader(dataset_of(9), batch_size=4)] == [4, 4, 1]


def test_a_batch_of_one_sample_stays_if_there_is_no_other_or_all_are_such() -> None:
    assert sorted(order(TensorLoader(dataset_of(1), batch_size=4, shuffle=True))) == [0]
    assert sorted(order(TensorLoader(dataset_of(3), batch_size=1, shuffle=True))) == [0, 1, 2]


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


@given(data=st.data(), n_ranks=st.integers(2, 5), batch_size=st.integers(1, 20), seed=st.integers(0, 99))
def test_ranks_share_out_the_global_batches_of_a_single_process(
    data: st.DataObject, n_ranks: int, batch_size: int, seed: int
) -> None:
    n = data.draw(st.integers(n_ranks, 80))
    torch.manual_seed(seed)
    whole = [set(labels.tolist()) for labels in torch.randperm(n).split(batch_size * n_ranks)]
    by_rank = []
    for rank in range(n_ranks):
        torch.manual_seed(seed)
        loader = TensorLoader(dataset_of(n), batch_size=batch_size, shuffle=True, rank=rank, n_ranks=n_ranks)
        by_rank.append([labels.tolist() for _, labels in loader])
        assert len(loader) == len(by_rank[-1])
    if batch_size > 1 and len(whole) > 1 and len(whole[-1]) < 2 * n_ranks:
        whole.pop()  # some rank would train on one sample of it
    for together, *parts in zip(whole, *by_rank, strict=True):
        assert min(map(len, parts)) > 1 or batch_size == 1 or len(whole) == 1
        assert set().union(*parts) == together
        assert all(parts)
        if len(together) >= n_ranks:
            assert sum(map(len, parts)) == len(together)  # none twice


@given(data=st.data(), n_ranks=st.integers(2, 5), batch_size=st.integers(1, 20))
def test_in_order_ranks_see_every_sample_once_in_as_many_batches(
    data: st.DataObject, n_ranks: int, batch_size: int
) -> None:
    n = data.draw(st.integers(n_ranks, 80))
    loaders = [
        TensorLoader(dataset_of(n), batch_size=batch_size, rank=rank, n_ranks=n_ranks) for rank in range(n_ranks)
    ]
    assert [label for loader in loaders for label in order(loader)] == list(range(n))
    assert {len(list(loader)) for loader in loaders} == {len(loaders[0])}


def test_ranks_shuffle_alike_but_transform_with_numbers_of_their_own() -> None:
    drawn = []
    for rank, n_ranks in ((0, 1), (0, 2), (1, 2)):
        torch.manual_seed(0)
        noise: list[float] = []

        def draw(images: torch.Tensor, noise: list[float] = noise) -> torch.Tensor:
            noise.append(torch.rand(()).item())
            return images

        order(TensorLoader(dataset_of(8), batch_size=4, shuffle=True, transform=draw, rank=rank, n_ranks=n_ranks))
        drawn.append(noise)
    alone, first, second = drawn
    assert first == alone[:1]
    assert second != first


@pytest.mark.parametrize(("rank", "n_ranks"), [(2, 2), (-1, 2), (0, 4)])
def test_refuses_a_rank_without_samples(rank: int, n_ranks: int) -> None:
    with pytest.raises(ValueError, match="0 <= rank < n_ranks <= number of samples"):
        TensorLoader(dataset_of(3), batch_size=1, rank=rank, n_ranks=n_ranks)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True])
def test_refuses_a_wrong_batch_size(batch_size: int) -> None:
    with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1"):
        TensorLoader(dataset_of(3), batch_size=batch_size)


def test_refuses_a_dataset_that_is_no_pair() -> None:
    with pytest.raises(ValueError, match="images and labels, but got 1 tensors"):
        TensorLoader(TensorDataset(torch.zeros(3)), batch_size=1)
