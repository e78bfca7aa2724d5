from __future__ import annotations

import pytest
import torch

from lightning_modules.data.random_shift import RandomShift


def all_shifts(image: torch.Tensor, *, max_shift: int, fill: float) -> list[torch.Tensor]:
    """Every translation of one image ``(C, H, W)``, computed pixel by pixel."""
    _, height, width = image.shape
    shifted = []
    for down in range(-max_shift, max_shift + 1):
        for right in range(-max_shift, max_shift + 1):
            result = torch.full_like(image, fill)
            for row in range(height):
                for column in range(width):
                    if 0 <= row - down < height and 0 <= column - right < width:
                        result[:, row, column] = image[:, row - down, column - right]
            shifted.append(result)
    return shifted


def test_every_image_is_one_of_its_translations_and_each_is_drawn() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 4, 5)
    possible = all_shifts(image, max_shift=2, fill=-3.0)
    counts = [0] * len(possible)
    for result in RandomShift(max_shift=2, fill=-3.0)(image.expand(1000, 2, 4, 5)):
        matches = [index for index, candidate in enumerate(possible) if torch.equal(result, candidate)]
        assert len(matches) == 1
        counts[matches[0]] += 1
    assert min(counts) > 10


def test_each_image_of_a_batch_moves_on_its_own() -> None:
    torch.manual_seed(0)
    images = torch.arange(16.0).reshape(1, 1, 4, 4).expand(20, 1, 4, 4)
    assert len({tuple(image.flatten().tolist()) for image in RandomShift(max_shift=1, fill=0.0)(images)}) > 1


def test_the_global_seed_decides() -> None:
    images = torch.randn(30, 1, 8, 8)
    shift = RandomShift(max_shift=2, fill=0.0)
    torch.manual_seed(4)
    first = shift(images)
    assert not torch.equal(shift(images), first)
    torch.manual_seed(4)
    assert torch.equal(shift(images), first)


def test_shift_by_zero_changes_nothing() -> None:
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(RandomShift(max_shift=0, fill=9.0)(images), images)


@pytest.mark.parametrize("max_shift", [-1, 0.5])
def test_refuses_a_wrong_shift(max_shift: int) -> None:
    with pytest.raises(ValueError, match="`max_shift` must be an integer >= 0"):
        RandomShift(max_shift=max_shift, fill=0.0)
