from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from random_images import N_IMAGES, RandomImages, random_images

from lightning_modules.callbacks.epoch_seeding import EpochSeeding
from lightning_modules.data.digits_data import DigitsDataModule
from lightning_modules.data.tensor_loader import TensorLoader
from lightning_modules.init_signature import init_signature

EVERYTHING: dict[str, Any] = {
    "flip_probability": 0.5,
    "max_rotation": 10.0,
    "max_scale": 0.1,
    "max_shift": 1,
    "max_brightness": 0.2,
    "max_contrast": 0.2,
    "max_saturation": 0.2,
    "max_hue": 10.0,
    "cutout_size": 2,
    "mixup_alpha": 0.2,
}


def images_of(loader: TensorLoader) -> torch.Tensor:
    return torch.cat([images for images, _ in loader])


def test_every_strength_is_an_init_argument_of_every_data_module() -> None:
    assert EVERYTHING.keys() <= init_signature(DigitsDataModule).parameters.keys()


def test_only_batches_to_train_on_are_augmented() -> None:
    augmenting, plain = RandomImages(**EVERYTHING), RandomImages()
    for loader in ("train_eval_dataloader", "val_dataloader", "test_dataloader"):
        for (images, labels), (plain_images, plain_labels) in zip(
            getattr(augmenting, loader)(), getattr(plain, loader)(), strict=True
        ):
            assert torch.equal(images, plain_images)
            assert torch.equal(labels, plain_labels)
    for loader in ("train_dataloader", "train_val_dataloader"):
        torch.manual_seed(0)
        changed = images_of(getattr(augmenting, loader)())
        torch.manual_seed(0)
        unchanged = images_of(getattr(plain, loader)())
        assert changed.shape == unchanged.shape
        assert (changed != unchanged).flatten(1).any(1).float().mean().item() > 0.95


@pytest.mark.parametrize("scheme", ["none", "standardize", "standardize_pixels", "zca_whitening"])
def test_augmentation_comes_before_preprocessing(scheme: str) -> None:
    """An image that is flipped is preprocessed as the flipped image, whatever the preprocessing."""
    module = RandomImages(preprocessing_scheme=scheme, flip_probability=1.0)
    flipped = torch.from_numpy(random_images()[module.splits.train]).flip(3)
    expected = {tuple(image.flatten().tolist()) for image in module.preprocessing(flipped).round(decimals=2)}
    found = {tuple(image.flatten().tolist()) for image in images_of(module.train_dataloader()).round(decimals=2)}
    assert len(found & expected) > 0.95 * len(expected)


def test_8_bit_images_wait_for_their_augmentation_in_8_bits() -> None:
    loader = RandomImages(max_shift=1).train_dataloader()
    assert loader.dataset.tensors[0].dtype == torch.uint8
    assert images_of(loader).dtype == torch.float32


def test_without_augmentation_a_batch_is_what_was_prepared_once() -> None:
    loader = DigitsDataModule(mixup_alpha=0.0).train_dataloader()
    assert loader.transform is None
    assert loader.mixup is None
    assert loader.dataset.tensors[0].dtype == torch.float32


@pytest.mark.parametrize("strengths", [{}, {"max_shift": 1}])
def test_8_bit_images_are_held_once_and_preprocessed_batch_by_batch(strengths: dict[str, Any]) -> None:
    module = RandomImages(**strengths)
    loaders = [module.train_dataloader(), module.train_eval_dataloader(), module.val_dataloader()]
    images = [loader.dataset.tensors[0] for loader in loaders]
    assert {each.dtype for each in images} == {torch.uint8}
    assert len({each.untyped_storage().data_ptr() for each in images}) == 1
    for loader, indices in ((loaders[1], module.splits.train), (loaders[2], module.splits.val)):
        expected = module.preprocessing(torch.from_numpy(random_images()[indices]))
        assert torch.equal(images_of(loader), expected)


@pytest.mark.parametrize("scheme", ["standardize", "zca_whitening"])
def test_others_are_preprocessed_once_and_split_without_a_copy(scheme: str) -> None:
    images = random_images() if scheme == "zca_whitening" else random_images().astype(np.float32)
    module = RandomImages(images=images, preprocessing_scheme=scheme)
    loaders = [module.train_dataloader(), module.train_eval_dataloader(), module.test_dataloader()]
    kept = [loader.dataset.tensors[0] for loader in loaders]
    assert {each.dtype for each in kept} == {torch.float32}
    assert len({each.untyped_storage().data_ptr() for each in kept}) == 1
    assert torch.equal(kept[2], module.preprocessing(torch.from_numpy(images))[module.splits.test])


@pytest.mark.parametrize("strengths", [{"mixup_alpha": 0.5}, {"mixup_alpha": 0.5, "max_shift": 1}])
def test_mixup_makes_probabilities_of_all_classes_of_train_labels_alone(strengths: dict[str, Any]) -> None:
    module = RandomImages(batch_size=16, **strengths)
    for _, labels in module.train_dataloader():
        assert labels.shape[1] == 3
        torch.testing.assert_close(labels.sum(1), torch.ones(len(labels)))
    for loader in (module.train_eval_dataloader(), module.val_dataloader(), module.test_dataloader()):
        assert all(labels.dtype == torch.int64 for _, labels in loader)


def test_torchs_seed_decides_a_whole_epoch() -> None:
    loader = RandomImages(**EVERYTHING).train_dataloader()
    torch.manual_seed(4)
    first = list(loader)
    torch.manual_seed(4)
    for (images, labels), (images_again, labels_again) in zip(first, loader, strict=True):
        assert torch.equal(images, images_again)
        assert torch.equal(labels, labels_again)


@pytest.mark.parametrize("strengths", [{"max_brightness": 0.5}, {"mixup_alpha": 1.0}])
def test_the_second_rank_draws_numbers_of_its_own(strengths: dict[str, Any]) -> None:
    module = RandomImages(**strengths)
    plain = module.train_dataloader()
    by_rank = []
    for rank in (0, 1):
        torch.manual_seed(0)
        loader = TensorLoader(
            plain.dataset,
            batch_size=len(plain.dataset) // 2,
            shuffle=True,
            transform=plain.transform,
            mixup=plain.mixup,
            rank=rank,
            n_ranks=2,
        )
        next(iter(loader))
        by_rank.append(torch.get_rng_state())
    assert not torch.equal(*by_rank)


class Recorder(pl.LightningModule):
    """Keeps every batch that it is trained on, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[torch.Tensor]] = {}

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).append(torch.cat([batch[0].flatten(), batch[1].flatten()]))
        return self.weight * torch.rand(())

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:The number of training batches.*")
def test_a_resumed_fit_draws_what_an_uninterrupted_one_does(tmp_path: Any) -> None:
    def fit(max_epochs: int, checkpoint: str | None = None) -> tuple[Recorder, pl.Trainer]:
        model = Recorder()
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=max_epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=[EpochSeeding(7)],
        )
        trainer.fit(model, datamodule=RandomImages(batch_size=20, **EVERYTHING), ckpt_path=checkpoint)
        return model, trainer

    whole, _ = fit(3)
    _, trainer = fit(2)
    trainer.save_checkpoint(tmp_path / "after-2.ckpt")
    torch.manual_seed(99)
    resumed, _ = fit(3, str(tmp_path / "after-2.ckpt"))
    assert all(torch.equal(*pair) for pair in zip(whole.seen[2], resumed.seen[2], strict=True))
    assert not torch.equal(whole.seen[1][0], whole.seen[2][0])


def test_what_the_images_do_not_allow_is_said_when_they_are_known() -> None:
    with pytest.raises(ValueError, match="`cutout_size` must be at most the smaller side of the images, 5 pixels"):
        RandomImages(cutout_size=6).train_dataloader()
    with pytest.raises(ValueError, match="`max_hue` needs images of red, green and blue"):
        DigitsDataModule(max_hue=5.0).train_dataloader()


@pytest.mark.parametrize("wrong", [-0.1, float("inf"), "0.2"])
def test_refuses_a_wrong_alpha(wrong: Any) -> None:
    with pytest.raises(ValueError, match="`mixup_alpha` must be a number in"):
        RandomImages(mixup_alpha=wrong)


def test_a_split_that_stands_apart_stays_so() -> None:
    splits = RandomImages().splits
    assert np.array_equal(splits.test, np.flatnonzero(np.arange(N_IMAGES) % 10 == 9))
    assert np.array_equal(np.sort(np.concatenate([splits.train, splits.val, splits.test])), np.arange(N_IMAGES))
