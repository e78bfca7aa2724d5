"""How much of a backbone to train, by how many images there are and how much they resemble its own."""

from __future__ import annotations

from lightning_modules.arguments import check_count

FEW_IMAGES = 1000
"""Fewer training images are few. The lectures give no number."""


def recommended_transfer(n_images: int, *, similar: bool, n_blocks: int) -> int:
    """Return how many of a backbone's last blocks to train; the head always trains.

    ================  =======================================  ==========================================
    ..                similar images                           different images
    ================  =======================================  ==========================================
    few images        0: a linear classifier on the features   1: the most specific block learns anew
    many images       half of them, rounded up: a few layers   all of them
    ================  =======================================  ==========================================

    Args:
        n_images: Images to train on, >= 1; few are less than `FEW_IMAGES`.
        similar: Whether they resemble those that the backbone was trained on.
        n_blocks: Blocks of the backbone, >= 1.

    Returns:
        An integer in ``[0, n_blocks]``.

    Raises:
        ValueError: If a number is out of its bounds.

    Source:
        CS231n, "Transfer Learning", section "When and how to fine-tune?", and the table of the lecture. For few images
        that are different they advise a linear classifier on earlier features; here the last block is trained instead,
        which works in a network of any kind.
    """
    check_count(n_images, name="n_images", at_least=1)
    check_count(n_blocks, name="n_blocks", at_least=1)
    if n_images < FEW_IMAGES:
        return 0 if similar else 1
    return -(-n_blocks // 2) if similar else n_blocks
