from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lightning_modules.data.splits import stratified_split

labels_of_any_size = st.lists(st.integers(0, 6), min_size=2, max_size=200).map(np.array)
seeds = st.integers(0, 2**40)
proper_shares = st.floats(0.01, 0.99)


def leaves_both_sides(labels: np.ndarray, share: float) -> bool:
    return 0 < round(share * len(labels)) < len(labels)


@given(labels=labels_of_any_size, share=proper_shares, seed=seeds)
def test_is_disjoint_exhaustive_and_of_the_right_size(labels: np.ndarray, share: float, seed: int) -> None:
    assume(leaves_both_sides(labels, share))
    kept, held_out = stratified_split(labels, share=share, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(labels)))
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held_out) > 0)
    assert len(held_out) == round(share * len(labels))


@given(labels=labels_of_any_size, share=proper_shares, seed=seeds)
def test_every_class_gives_its_share_up_to_one_sample(labels: np.ndarray, share: float, seed: int) -> None:
    assume(leaves_both_sides(labels, share))
    _, held_out = stratified_split(labels, share=share, seed=seed)
    for label in set(labels.tolist()):
        exact = share * np.count_nonzero(labels == label)
        assert abs(np.count_nonzero(labels[held_out] == label) - exact) < 1.0 + 1e-9


@given(labels=labels_of_any_size, share=proper_shares, seed=seeds)
def test_seed_alone_decides(labels: np.ndarray, share: float, seed: int) -> None:
    assume(leaves_both_sides(labels, share))
    np.random.seed(0)
    first = stratified_split(labels, share=share, seed=seed)
    np.random.seed(1)
    second = stratified_split(labels.copy(), share=share, seed=seed)
    assert all(np.array_equal(*sides) for sides in zip(first, second, strict=True))


def test_other_seeds_hold_out_other_samples_each_as_often() -> None:
    labels = np.repeat(np.arange(4), 10)
    n_seeds = 400
    counts = np.zeros(len(labels))
    for seed in range(n_seeds):
        counts[stratified_split(labels, share=0.3, seed=seed)[1]] += 1
    # Five standard deviations of a binomial count.
    assert np.all(np.abs(counts - 0.3 * n_seeds) < 5.0 * math.sqrt(n_seeds * 0.3 * 0.7))


@pytest.mark.parametrize(
    ("labels", "share", "seed", "message"),
    [
        (np.zeros(10, dtype=int), 0.0, 0, "`share`"),
        (np.zeros(10, dtype=int), 1.0, 0, "`share`"),
        (np.zeros(10, dtype=int), math.nan, 0, "`share`"),
        (np.zeros(10, dtype=int), 0.01, 0, "`share` of 10 samples must leave both sides one"),
        (np.zeros(0, dtype=int), 0.5, 0, "`share` of 0 samples"),
        (np.zeros((5, 2), dtype=int), 0.5, 0, r"`labels` must have shape \(n,\)"),
        (np.zeros(10, dtype=int), 0.5, -1, "`seed` must be an integer >= 0, but got -1"),
    ],
)
def test_refuses_what_cannot_be_split(labels: np.ndarray, share: float, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stratified_split(labels, share=share, seed=seed)
