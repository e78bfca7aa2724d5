from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.data.augmentation import Augmentation, AugmentationSettings
from lightning_modules.data.augmentation_colour import random_brightness, random_colour, random_contrast
from lightning_modules.data.augmentation_geometry import random_affine, random_flip
from lightning_modules.data.cutout import random_cutout
from lightning_modules.data.pixel_statistics import pixel_statistics

EACH_ALONE: tuple[dict[str, Any], ...] = (
    {"flip_probability": 0.5},
    {"max_rotation": 30.0},
    {"max_scale": 0.5},
    {"max_shift": 2},
    {"max_brightness": 0.8},
    {"max_contrast": 1.0},
    {"max_saturation": 1.0},
    {"max_hue": 180.0},
    {"cutout_size": 3},
)
ALL: dict[str, Any] = {name: value for one in EACH_ALONE for name, value in one.items()}


def raw_images(n: int = 12, *, n_channels: int = 3, height: int = 6, width: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(1, 256, (n, n_channels, height, width), dtype=torch.uint8, generator=generator)


def augmentation(images: torch.Tensor, **strengths: Any) -> Augmentation:
    return Augmentation(AugmentationSettings(**strengths), statistics=pixel_statistics([images]))


@pytest.mark.parametrize("strengths", [*EACH_ALONE, ALL], ids=lambda strengths: "+".join(strengths))
def test_shape_stays_values_stay_between_black_and_white_and_something_changes(strengths: dict[str, Any]) -> None:
    images = raw_images()
    before = images.clone()
    torch.manual_seed(0)
    changed = augmentation(images, **strengths)(images)
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert changed.min().item() >= -1e-3 and changed.max().item() <= 255.0 + 1e-3
    assert not torch.equal(changed, images.float())
    assert torch.equal(images, before)


@pytest.mark.parametrize("strengths", [*EACH_ALONE, ALL], ids=lambda strengths: "+".join(strengths))
def test_each_image_is_changed_by_its_own_draw_alone(strengths: dict[str, Any]) -> None:
    images = raw_images()
    augment = augmentation(images, **strengths)
    others = images.clone()
    others[:5], others[6:] = 255 - images[:5], 255 - images[6:]
    torch.manual_seed(3)
    with_these = augment(images)
    torch.manual_seed(3)
    with_others = augment(others)
    torch.testing.assert_close(with_these[5], with_others[5])
    copies = images[:1].expand(12, -1, -1, -1)
    assert len({tuple(image.flatten().tolist()) for image in augment(copies)}) > 1


@pytest.mark.parametrize("strengths", [*EACH_ALONE, ALL], ids=lambda strengths: "+".join(strengths))
def test_torchs_seed_decides(strengths: dict[str, Any]) -> None:
    images = raw_images()
    augment = augmentation(images, **strengths)
    torch.manual_seed(1)
    first, second = augment(images), augment(images)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(augment(images), first)


def test_at_strength_0_nothing_is_changed_and_nothing_is_drawn() -> None:
    images = raw_images()
    state = torch.get_rng_state()
    assert torch.equal(augmentation(images)(images), images.float())
    assert torch.equal(torch.get_rng_state(), state)
    assert AugmentationSettings().is_off
    assert not any(AugmentationSettings(**strengths).is_off for strengths in EACH_ALONE)


def test_each_operation_is_the_identity_at_strength_0() -> None:
    images = raw_images().float()
    unchanged = (
        random_flip(images, probability=0.0),
        random_affine(images, max_rotation=0.0, max_scale=0.0, fill=0.0),
        random_brightness(images, max_change=0.0, low=0.0, high=255.0),
        random_contrast(images, max_change=0.0, low=0.0, high=255.0),
        random_colour(images, max_saturation=0.0, max_hue=0.0, low=0.0, high=255.0),
        random_cutout(images, size=0, fill=torch.zeros(3, 1, 1)),
    )
    for result in unchanged:
        torch.testing.assert_close(result, images, rtol=0.0, atol=2e-3)


def test_flipping_is_mirroring_left_to_right_and_undoes_itself() -> None:
    images = raw_images()
    flipped = random_flip(images, probability=1.0)
    assert torch.equal(flipped[..., 0], images[..., -1])
    assert torch.equal(random_flip(flipped, probability=1.0), images)
    torch.manual_seed(0)
    some = random_flip(images[:1].expand(2000, -1, -1, -1), probability=0.25)
    assert 0.2 < (some == flipped[0]).all((1, 2, 3)).float().mean().item() < 0.3


def test_a_rotation_turns_about_the_centre_and_keeps_the_aspect() -> None:
    """What is round stays so, on images that are no squares too."""
    rows, columns = torch.meshgrid(torch.arange(31.0) - 15.0, torch.arange(21.0) - 10.0, indexing="ij")
    spot = (-(rows**2 + columns**2) / 20.0).exp().expand(20, 1, 31, 21)
    torch.manual_seed(0)
    turned = random_affine(spot, max_rotation=180.0, max_scale=0.0, fill=0.0)
    assert (turned - spot).abs().max().item() < 0.03
    line = torch.zeros(20, 1, 31, 21)
    line[:, :, 15] = 1.0
    spread = random_affine(line, max_rotation=90.0, max_scale=0.0, fill=0.0)
    assert (spread - line).abs().mean().item() > 0.03
    torch.testing.assert_close(spread[:, :, 15, 10], torch.ones(20, 1), rtol=0.0, atol=0.01)


def test_scaling_magnifies_and_shrinks_alike() -> None:
    rows, columns = torch.meshgrid(torch.arange(41.0) - 20.0, torch.arange(41.0) - 20.0, indexing="ij")
    square = ((rows.abs() <= 7) & (columns.abs() <= 7)).float().expand(500, 1, 41, 41)
    torch.manual_seed(0)
    areas = random_affine(square, max_rotation=0.0, max_scale=0.5, fill=0.0).sum((1, 2, 3))
    logs = (areas / 15**2).log() / 2.0
    assert logs.abs().max().item() <= math.log(1.5) + 0.02
    assert logs.min().item() < -0.37 and logs.max().item() > 0.37
    assert logs.mean().item() == pytest.approx(0.0, abs=0.04)


def test_what_comes_in_from_outside_is_black() -> None:
    images = torch.full((30, 1, 9, 9), -3.0)
    images[:, :, 0, 0] = -5.0
    changed = augmentation(images, max_rotation=45.0, max_scale=1.0, max_shift=3)(images)
    assert changed.min().item() == pytest.approx(-5.0, abs=1e-5)
    assert changed.max().item() <= -3.0 + 1e-5


def test_brightness_scales_the_distance_from_black() -> None:
    images = torch.full((400, 1, 2, 2), 6.0)
    torch.manual_seed(0)
    changed = random_brightness(images, max_change=0.5, low=2.0, high=7.0)
    assert changed.min().item() == pytest.approx(4.0, abs=0.05)
    assert changed.max().item() == 7.0  # white: half of the images would be brighter


def test_contrast_keeps_the_mean_grey_and_scales_what_differs_from_it() -> None:
    images = 100.0 + 20.0 * torch.rand(50, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    changed = random_contrast(images, max_change=0.9, low=0.0, high=255.0)
    luma = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    torch.testing.assert_close((luma * changed).sum(1).mean((1, 2)), (luma * images).sum(1).mean((1, 2)))
    ratios = changed.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.1 <= ratios.min().item() < 0.3 and 1.7 < ratios.max().item() <= 1.91


def test_contrast_of_images_without_colour_is_about_their_mean() -> None:
    images = 100.0 + 20.0 * torch.rand(20, 2, 4, 4)
    changed = random_contrast(images, max_change=0.9, low=0.0, high=255.0)
    torch.testing.assert_close(changed.mean((1, 2, 3)), images.mean((1, 2, 3)))


def chroma(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Length and angle of what distinguishes colours ``(N, 3, H, W)`` from grey, by other axes than the code's."""
    red, green, blue = images.double().unbind(1)
    in_phase, quadrature = 0.5959 * red - 0.2746 * green - 0.3213 * blue, 0.2115 * red - 0.5227 * green + 0.3112 * blue
    return torch.hypot(in_phase, quadrature), torch.atan2(quadrature, in_phase)


def test_hue_turns_colours_and_keeps_their_luma_and_strength() -> None:
    images = torch.rand(200, 3, 2, 2, generator=torch.Generator().manual_seed(1)) * 20.0 + 110.0
    torch.manual_seed(0)
    changed = random_colour(images, max_saturation=0.0, max_hue=30.0, low=0.0, high=255.0)
    luma = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    torch.testing.assert_close((luma * changed).sum(1), (luma * images).sum(1))
    before, after = chroma(images), chroma(changed)
    torch.testing.assert_close(after[0], before[0], rtol=1e-3, atol=1e-3)
    turns = torch.rad2deg(torch.remainder(after[1] - before[1] + math.pi, 2 * math.pi) - math.pi)
    assert -30.1 < turns.min().item() < -28.0 and 28.0 < turns.max().item() < 30.1
    # All pixels of an image turn alike.
    assert turns.reshape(200, -1).std(1).max().item() < 0.5


def test_saturation_moves_colours_away_from_grey_and_greys_nowhere() -> None:
    images = torch.rand(200, 3, 2, 2, generator=torch.Generator().manual_seed(1)) * 20.0 + 110.0
    changed = random_colour(images, max_saturation=0.5, max_hue=0.0, low=0.0, high=255.0)
    ratios = (chroma(changed)[0] / chroma(images)[0]).reshape(200, -1)
    assert 0.5 <= ratios.min().item() + 1e-2 < 0.55 and 1.45 < ratios.max().item() < 1.51
    grey = images[:, :1].expand(-1, 3, -1, -1)
    changed_grey = random_colour(grey, max_saturation=1.0, max_hue=180.0, low=0.0, high=255.0)
    torch.testing.assert_close(changed_grey, grey, rtol=0.0, atol=1e-2)


@settings(max_examples=10)
@given(size=st.integers(1, 5), seed=st.integers(0, 1000))
def test_cutout_hides_one_square_that_may_reach_out(size: int, seed: int) -> None:
    images = torch.ones(40, 2, 5, 6)
    torch.manual_seed(seed)
    hidden = random_cutout(images, size=size, fill=torch.tensor([-1.0, -2.0]).reshape(2, 1, 1))
    assert torch.equal(hidden[:, 1] == -2.0, hidden[:, 0] == -1.0)
    for image in hidden[:, 0] == -1.0:
        rows, columns = image.any(1).sum().item(), image.any(0).sum().item()
        assert image.sum().item() == rows * columns
        assert 1 <= rows <= size and 1 <= columns <= size


def test_the_hidden_square_is_the_mean_of_each_channel() -> None:
    images = raw_images(200)
    hidden = augmentation(images, cutout_size=6)(images)
    means = images.float().mean((0, 2, 3))
    is_mean = (hidden - means.reshape(1, 3, 1, 1)).abs() < 1e-3
    assert is_mean[:, :, 2, 3].all(1).float().mean().item() > 0.5
    assert torch.equal(is_mean[:, 0], is_mean[:, 1])


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ({"flip_probability": 1.1}, r"`flip_probability` must be a number in \[0, 1\], but got 1\.1"),
        ({"max_rotation": 181.0}, "`max_rotation`"),
        ({"max_scale": -0.1}, "`max_scale`"),
        ({"max_shift": 0.5}, "`max_shift`"),
        ({"max_brightness": math.nan}, "`max_brightness`"),
        ({"max_contrast": 2.0}, "`max_contrast`"),
        ({"max_saturation": "1"}, "`max_saturation`"),
        ({"max_hue": 200.0}, "`max_hue`"),
        ({"cutout_size": -1}, "`cutout_size` must be an integer >= 0, but got -1"),
    ],
)
def test_refuses_strengths_out_of_bounds(strengths: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentationSettings(**strengths)


@pytest.mark.parametrize("name", ["max_saturation", "max_hue"])
def test_colours_are_changed_in_colour_images_alone(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` needs images of red, green and blue, .* they have 1"):
        augmentation(raw_images(n_channels=1), **{name: 0.5})


def test_a_square_larger_than_the_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`cutout_size` must be at most the smaller side .* 6 pixels, but got 7"):
        augmentation(raw_images(), cutout_size=7)
