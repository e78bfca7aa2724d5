from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import RandomImages

from lightning_modules.data.digits_data import DigitsDataModule
from lightning_modules.data.leakage import MAX_EXAMPLES, Leak, find_leaks
from lightning_modules.data.split_summary import summarize_split

# Few different images, so that splits share some by chance.
split_codes = st.lists(st.integers(0, 25), max_size=12)
dtypes = st.sampled_from([torch.uint8, torch.float32, torch.float64, torch.bfloat16])


def images_of(codes: list[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """An image ``(2, 3, 2)`` for each code; the codes differ in one value."""
    images = torch.full((len(codes), 2, 3, 2), 7, dtype=dtype)
    images[:, 1, 2, 0] = torch.tensor(codes, dtype=dtype)
    return images


@settings(max_examples=25)
@given(train=split_codes, val=split_codes, test=split_codes, batch_size=st.integers(1, 5), dtype=dtypes)
def test_leaks_are_the_images_that_two_splits_share(
    train: list[int], val: list[int], test: list[int], batch_size: int, dtype: torch.dtype
) -> None:
    codes = {"train": train, "val": val, "test": test}
    leaks = find_leaks({name: torch.split(images_of(each, dtype), batch_size) for name, each in codes.items()})
    expected = {
        (source, split): sum(code in codes[source] for code in codes[split])
        for source, split in (("train", "val"), ("train", "test"), ("val", "test"))
    }
    assert {(leak.source, leak.split): leak.n_images for leak in leaks} == {
        pair: n_shared for pair, n_shared in expected.items() if n_shared
    }
    for leak in leaks:
        assert leak.n_in_split == len(codes[leak.split])
        assert len(leak.examples) == min(leak.n_images, MAX_EXAMPLES)
        assert all(codes[leak.source][first] == codes[leak.split][second] for first, second in leak.examples)


def test_an_image_that_was_copied_into_train_is_named() -> None:
    train, val = images_of([1, 2, 3, 9]), images_of([4, 9, 5])
    (leak,) = find_leaks({"train": [train[:2], train[2:]], "val": [val]})
    assert leak == Leak(source="train", split="val", n_images=1, n_in_split=3, examples=((3, 1),))


def test_the_digits_do_not_leak_and_a_validation_split_within_train_does() -> None:
    data = DigitsDataModule()
    loaded, splits = data.load(), data.splits

    def find(val: object) -> tuple[Leak, ...]:
        parts = {"train": splits.train, "val": val, "test": splits.test}
        return find_leaks({name: (images for images, _ in loaded.batches(part)) for name, part in parts.items()})

    assert find(splits.val) == ()
    (leak,) = find(splits.train[:50])
    assert (leak.source, leak.split, leak.n_images) == ("train", "val", 50)


def test_a_summary_counts_classes_and_broken_values() -> None:
    images = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    images[:, 0, 1, 1] = 0.5
    images[0] = 0.5
    images[3, 0, 0, 0] = math.nan
    images[4, 0, 0, 1] = -math.inf
    labels = torch.tensor([0, 2, 2, 2, 5, -1])
    summary = summarize_split([(images[:4], labels[:4]), (images[4:], labels[4:])], n_classes=4)
    assert summary.class_counts == (1, 0, 3, 0)
    assert summary.missing_classes == (1, 3)
    assert summary.imbalance == 3.0
    assert summary.n_out_of_range_labels == 2
    assert summary.n_images == 6
    assert summary.n_not_finite_images == 2
    assert summary.n_constant_images == 1
    assert (summary.n_constant_pixels, summary.n_pixels) == (1, 4)
    finite = images[[0, 1, 2, 5]]
    assert (summary.low, summary.high) == (finite.min().item(), finite.max().item())


def test_a_summary_does_not_depend_on_the_batches() -> None:
    module = RandomImages()
    loaded = module.load()
    images, labels = next(iter(loaded.batches(module.splits.train)))
    whole = summarize_split([(images, labels)])
    assert whole == summarize_split(zip(torch.split(images, 7), torch.split(labels, 7), strict=True))
    assert whole.class_counts == tuple(labels.bincount().tolist())
    assert whole.n_constant_pixels == 0
    assert whole.imbalance < 1.1


def test_nothing_finite_has_no_range() -> None:
    summary = summarize_split([(torch.full((2, 1, 1, 2), math.nan), torch.zeros(2, dtype=torch.int64))])
    assert (summary.n_not_finite_images, summary.n_constant_images, summary.n_constant_pixels) == (2, 0, 0)
    assert math.isnan(summary.low) and math.isnan(summary.high)


def test_a_split_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="A split must have an image"):
        summarize_split([(torch.zeros(0, 1, 2, 2), torch.zeros(0, dtype=torch.int64))])
