from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_images import N_IMAGES, RandomImages, random_images

from lightning_modules.data.pixel_statistics import pixel_statistics
from lightning_modules.data.preprocessing import SCHEMES, WHITENINGS, Preprocessing, PreprocessingSettings
from lightning_modules.data.tensor_loader import TensorLoader


def images_of(loader: TensorLoader) -> torch.Tensor:
    return torch.cat([images for images, _ in loader])


def train_images(**settings: Any) -> torch.Tensor:
    return images_of(RandomImages(**settings).train_eval_dataloader())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_validation_and_test_images_change_nothing_that_is_fitted(scheme: str) -> None:
    images = random_images()
    module = RandomImages(images=images, preprocessing_scheme=scheme)
    others = np.concatenate([module.splits.val, module.splits.test])
    changed = images.copy()
    changed[others] = 255 - changed[others] // 3
    other = RandomImages(images=changed, preprocessing_scheme=scheme)
    assert not torch.equal(images_of(module.val_dataloader()), images_of(other.val_dataloader()))
    assert torch.equal(images_of(module.train_eval_dataloader()), images_of(other.train_eval_dataloader()))
    for name, buffer in module.preprocessing.state_dict().items():
        assert torch.equal(buffer, other.preprocessing.state_dict()[name])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_split_goes_through_the_same_module(scheme: str) -> None:
    module = RandomImages(preprocessing_scheme=scheme)
    raw = torch.from_numpy(random_images())
    loaders = {
        "train": module.train_eval_dataloader(),
        "val": module.val_dataloader(),
        "test": module.test_dataloader(),
    }
    for split, loader in loaders.items():
        expected = module.preprocessing(raw[torch.from_numpy(getattr(module.splits, split))])
        torch.testing.assert_close(images_of(loader), expected)
    last_fit = images_of(module.train_val_dataloader())
    apart = torch.cat([images_of(loaders["train"]), images_of(loaders["val"])])
    torch.testing.assert_close(last_fit.flatten(1).sum(1).sort().values, apart.flatten(1).sum(1).sort().values)


@pytest.mark.parametrize(
    ("scheme", "over"),
    [
        ("center_channels", (0, 2, 3)),
        ("center_pixels", (0,)),
        ("standardize", (0, 1, 2, 3)),
        ("standardize_channels", (0, 2, 3)),
        ("standardize_pixels", (0,)),
    ],
)
def test_train_images_are_centred_and_scaled_over_what_the_name_says(scheme: str, over: tuple[int, ...]) -> None:
    images = train_images(preprocessing_scheme=scheme).double()
    assert images.mean(over).abs().max().item() < 1e-4
    if scheme.startswith("standardize"):
        torch.testing.assert_close(images.std(over), torch.ones_like(images.std(over)), rtol=1e-4, atol=1e-4)
    else:
        # The spread is left alone.
        torch.testing.assert_close(images.std(0), train_images(preprocessing_scheme="none").double().std(0))


def test_no_preprocessing_leaves_raw_values() -> None:
    module = RandomImages(preprocessing_scheme="none")
    raw = torch.from_numpy(random_images())[torch.from_numpy(module.splits.train)]
    assert torch.equal(images_of(module.train_eval_dataloader()), raw.float())


@pytest.mark.parametrize("scheme", WHITENINGS)
def test_whitened_train_images_have_the_identity_as_covariance(scheme: str) -> None:
    images = random_images(n_channels=1, height=4)
    module = RandomImages(images=images, preprocessing_scheme=scheme, whitening_epsilon=0.0)
    rows = images_of(module.train_eval_dataloader()).flatten(1).double()
    torch.testing.assert_close(rows.T.cov(), torch.eye(20, dtype=torch.float64), rtol=0.0, atol=1e-4)


def test_pca_sorts_components_by_variance_and_zca_stays_near_the_image() -> None:
    images = random_images(n_channels=1, height=4)
    made = {}
    for scheme in WHITENINGS:
        module = RandomImages(images=images, preprocessing_scheme=scheme, whitening_epsilon=0.0)
        made[scheme] = module.preprocessing
    pca, zca = (made[scheme].whitening for scheme in WHITENINGS)
    assert pca is not None and zca is not None
    # A column divides by its component's standard deviation, so its length is one over that.
    lengths = pca.norm(dim=0)
    assert torch.all(lengths.diff() > 0)
    torch.testing.assert_close(zca, zca.T)
    raw = torch.from_numpy(images).float().flatten(1)
    centred = raw - raw.mean(0)
    for preprocessing, is_near in ((made["zca_whitening"], True), (made["pca_whitening"], False)):
        rows = preprocessing(torch.from_numpy(images)).flatten(1)
        correlations = torch.stack(
            [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(rows.T, centred.T, strict=True)]
        )
        assert (correlations.min().item() > 0.5) == is_near


def test_more_epsilon_whitens_less() -> None:
    spreads = []
    for epsilon in (0.0, 0.1, 1.0):
        rows = train_images(preprocessing_scheme="zca_whitening", whitening_epsilon=epsilon).flatten(1)
        spreads.append(rows.std(0).mean().item())
    assert spreads[0] > spreads[1] > spreads[2] > 0.3


@pytest.mark.parametrize("scheme", ["standardize_pixels", *WHITENINGS])
def test_what_is_constant_in_train_stays_finite(scheme: str) -> None:
    images = random_images()
    images[:, 1, 2, 3] = 77
    module = RandomImages(images=images, preprocessing_scheme=scheme, whitening_epsilon=0.0)
    rows = images_of(module.train_eval_dataloader())
    assert rows.isfinite().all()
    unseen = torch.from_numpy(images[:1].copy())
    unseen[0, 1, 2, 3] = 78
    assert module.preprocessing(unseen).abs().max().item() < 100.0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_stored_state_makes_the_same_module_again(scheme: str) -> None:
    module = RandomImages(preprocessing_scheme=scheme)
    state = module.preprocessing.state_dict()
    raw = torch.from_numpy(random_images()[:7])
    again = Preprocessing.from_state_dict({name: buffer.clone() for name, buffer in state.items()})
    assert torch.equal(again(raw), module.preprocessing(raw))
    assert torch.equal(again(raw.double()), again(raw))
    assert set(state) == {"mean", "std"} | ({"whitening"} if scheme in WHITENINGS else set())


def test_a_single_image_without_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`images` must have shape \(N, C, H, W\), but got \(3, 6, 5\)"):
        RandomImages().preprocessing(torch.zeros(3, 6, 5))


@settings(max_examples=12)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any), offset=st.floats(-1e6, 1e6))
def test_statistics_do_not_depend_on_how_images_are_divided(sizes: list[int], offset: float) -> None:
    images = torch.randn(sum(sizes), 2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + offset
    parts = pixel_statistics(torch.split(images, sizes), with_codeviations=True)
    assert parts.n_images == len(images)
    for found, over in (
        (parts.of_all(), (0, 1, 2, 3)),
        (parts.of_channels(), (0, 2, 3)),
        (parts.of_pixels(), (0,)),
    ):
        torch.testing.assert_close(found[0].flatten(), images.mean(over).flatten(), rtol=1e-12, atol=1e-8)
        if len(images) > 1:
            torch.testing.assert_close(found[1].flatten(), images.std(over).flatten(), rtol=1e-6, atol=1e-8)
    assert parts.codeviations is not None
    centred = (images - images.mean(0)).flatten(1)
    torch.testing.assert_close(parts.codeviations, centred.T @ centred, rtol=1e-6, atol=1e-6)
    assert (parts.low, parts.high) == (images.min().item(), images.max().item())


def test_more_images_than_are_summarized_together() -> None:
    images = torch.arange(3000.0).reshape(3000, 1, 1, 1)
    statistics = pixel_statistics([images], with_codeviations=True)
    mean, std = statistics.of_all()
    assert mean.item() == 1499.5
    assert std.item() == pytest.approx(images.double().std().item())
    assert statistics.codeviations is not None
    assert statistics.codeviations.item() == pytest.approx(images.double().var().item() * 2999)


def test_black_and_white_of_8_bit_images_are_those_of_the_format() -> None:
    statistics = pixel_statistics([torch.full((2, 1, 2, 2), 7, dtype=torch.uint8)])
    assert (statistics.low, statistics.high) == (0.0, 255.0)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused_in_train_and_let_be_elsewhere(wrong: float) -> None:
    images = random_images().astype(np.float32)
    module = RandomImages(images=images)
    images[module.splits.val[0], 0, 0, 0] = wrong
    module.setup()
    images[module.splits.train[0], 0, 0, :2] = wrong
    with pytest.raises(ValueError, match="train images must be finite, but 2 values of a batch are NaN or infinite"):
        RandomImages(images=images).setup()


def test_images_that_are_too_large_to_whiten_are_refused() -> None:
    images = np.zeros((N_IMAGES, 1, 65, 64), dtype=np.uint8)
    module = RandomImages(images=images, preprocessing_scheme="pca_whitening")
    with pytest.raises(ValueError, match=r"at most 4096 values.*\(1, 65, 64\) have 4160.*`preprocessing_scheme`"):
        module.setup()


def test_without_images_there_is_nothing_to_fit() -> None:
    with pytest.raises(ValueError, match="There must be a train image"):
        pixel_statistics([torch.zeros(0, 1, 2, 2)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "standardise"}, r"`preprocessing_scheme` must be one of .*Did you mean 'standardize'\?"),
        ({"whitening_epsilon": -1e-5}, "`whitening_epsilon`"),
        ({"whitening_epsilon": math.nan}, "`whitening_epsilon`"),
    ],
)
def test_refuses_settings_out_of_bounds(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreprocessingSettings(**settings)
