from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data.even_shares import even_batches, even_share, n_even_batches


@given(n=st.integers(0, 200), n_ranks=st.integers(1, 9))
def test_shares_are_all_positions_once_in_order_and_differ_by_one_at_most(n: int, n_ranks: int) -> None:
    shares = [even_share(n, rank=rank, n_ranks=n_ranks) for rank in range(n_ranks)]
    assert [position for share in shares for position in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(data=st.data(), n_ranks=st.integers(1, 9), batch_size=st.integers(1, 40))
def test_every_rank_has_as_many_batches_none_of_them_empty_or_too_large(
    data: st.DataObject, n_ranks: int, batch_size: int
) -> None:
    n = data.draw(st.integers(n_ranks, 300))
    by_rank = [list(even_batches(n, batch_size=batch_size, rank=rank, n_ranks=n_ranks)) for rank in range(n_ranks)]
    assert sorted(position for batches in by_rank for batch in batches for position in batch) == list(range(n))
    assert {len(batches) for batches in by_rank} == {n_even_batches(n, batch_size=batch_size, n_ranks=n_ranks)}
    sizes = [len(batch) for batches in by_rank for batch in batches]
    assert min(sizes) >= 1
    assert max(sizes) <= max(batch_size, 2)
    if batch_size > 1:
        assert max(sizes) <= batch_size
