"""What any data module for images does between raw images and a network's input, with every choice an init argument."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from copy import deepcopy

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_modules.arguments import check_choice, check_number
from lightning_modules.data.augmentation import Augmentation, AugmentationSettings
from lightning_modules.data.given_transform import DRAWS, GivenTransform, made_transforms
from lightning_modules.data.mixup import Mixup
from lightning_modules.data.pixel_statistics import PixelStatistics
from lightning_modules.data.preprocessing import Preprocessing, PreprocessingSettings, make_preprocessing
from lightning_modules.init_signature import KnowsItsKeywords


class PreparesImages(KnowsItsKeywords, pl.LightningDataModule):
    """Preprocessing that is fitted to the train split alone, and augmentation of training batches.

    Training images are augmented raw, by draws of their own in every epoch, and preprocessed after that. What is
    evaluated is preprocessed, and never augmented.

    A subclass says in `train_statistics` what is known of the train split, and passes all other keywords on.
    """

    def __init__(
        self,
        *,
        preprocessing_scheme: str = "standardize",
        whitening_epsilon: float = 1e-5,
        flip_probability: float = 0.0,
        max_rotation: float = 0.0,
        max_scale: float = 0.0,
        max_shift: int = 0,
        max_brightness: float = 0.0,
        max_contrast: float = 0.0,
        max_saturation: float = 0.0,
        max_hue: float = 0.0,
        cutout_size: int = 0,
        mixup_alpha: float = 0.0,
        train_transform: object = None,
        train_transform_draws: str = "image",
    ) -> None:
        """Keep the settings; the preprocessing is fitted when it is first asked for.

        Args:
            preprocessing_scheme: ``none``, ``center_channels``, ``center_pixels``, ``standardize`` (by the mean and
                standard deviation of all values), ``standardize_channels``, ``standardize_pixels``, ``pca_whitening``
                or ``zca_whitening``; see `PreprocessingSettings`.
            whitening_epsilon: Smooths whitening, as a share of the values' mean variance, >= 0.
            flip_probability: Training images are mirrored left to right with this probability, in ``[0, 1]``.
            max_rotation: They are turned by up to this many degrees either way, in ``[0, 180]``.
            max_scale: They are magnified by up to ``1 + max_scale``, or shrunk by as much, in ``[0, 1]``.
            max_shift: They are shifted by up to this many pixels along each axis, >= 0: padded by as many, and cropped.
            max_brightness: Their values are multiplied by a factor between 1 minus this and 1 plus this, in ``[0, 1]``.
            max_contrast: Likewise the distances of the values from the image's mean grey, in ``[0, 1]``.
            max_saturation: Likewise the distance of each pixel from grey, in ``[0, 1]``; colour images only.
            max_hue: Their colours are turned by up to this many degrees either way, in ``[0, 180]``; likewise.
            cutout_size: A square of so many pixels a side is hidden, >= 0, at most the smaller side of the images.
            mixup_alpha: Each image is blended with another one of its batch, in shares of Beta(alpha, alpha), >= 0;
                train batches then carry the probabilities of the classes, ``(N, n_classes)``, as labels.
            train_transform: What else changes raw training images, before all of these: a class path of a transform, as
                of ``torchvision.transforms.v2`` (which needs the extra ``vision``), ``{class_path: …, init_args: {…}}``
                with what its arguments name so in turn, a callable, or a list of these; None or ``none`` for nothing.
                See `GivenTransform`.
            train_transform_draws: Whether it draws random numbers for each ``image``, or once for a ``batch``, which is
                faster.

        Raises:
            ValueError: If an argument is out of its bounds, or `train_transform` cannot be made.
        """
        super().__init__()
        check_number(mixup_alpha, name="mixup_alpha", low=0.0, includes_low=True)
        self.preprocessing_settings = PreprocessingSettings(
            scheme=preprocessing_scheme, whitening_epsilon=whitening_epsilon
        )
        self.augmentation_settings = AugmentationSettings(
            flip_probability=flip_probability,
            max_rotation=max_rotation,
            max_scale=max_scale,
            max_shift=max_shift,
            max_brightness=max_brightness,
            max_contrast=max_contrast,
            max_saturation=max_saturation,
            max_hue=max_hue,
            cutout_size=cutout_size,
        )
        self.mixup_alpha = mixup_alpha
        check_choice(train_transform_draws, name="train_transform_draws", choices=DRAWS)
        self.train_transform_draws = train_transform_draws
        self.train_transforms = made_transforms(train_transform)
        self._statistics: PixelStatistics | None = None
        self._preprocessing: Preprocessing | None = None

    @abstractmethod
    def train_statistics(self, *, with_codeviations: bool) -> PixelStatistics:
        """Summarize the images of the train split, raw, by `pixel_statistics`; it is asked for once.

        Args:
            with_codeviations: As for `pixel_statistics`.
        """

    @property
    def preprocessing(self) -> Preprocessing:
        """From raw images to the network's input, fitted to the train split; on the CPU.

        Raises:
            ValueError: If a train image holds NaN or infinite values, or the images are too large to be whitened.
        """
        if self._preprocessing is None:
            self._preprocessing = make_preprocessing(self._known_statistics(), self.preprocessing_settings)
        return self._preprocessing

    @property
    def is_random(self) -> bool:
        """Whether what is done to training batches draws random numbers."""
        return self.augments_raw_images or self.mixup_alpha > 0.0

    @property
    def augments_raw_images(self) -> bool:
        """Whether training images are changed before their preprocessing."""
        return not self.augmentation_settings.is_off or bool(self.train_transforms)

    def training_transform(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Return what makes a network's input of a batch of raw training images: augmentation, then preprocessing.

        Args:
            device: Where the batches are.

        Raises:
            ValueError: As `preprocessing`, or if the images do not have the size or the colours that an augmentation
                needs.
        """
        statistics = self._known_statistics()
        augmentation = Augmentation(self.augmentation_settings, statistics=statistics)
        given = GivenTransform(
            self.train_transforms, draws=self.train_transform_draws, low=statistics.low, high=statistics.high
        )
        preprocessing = deepcopy(self.preprocessing).to(device)

        def transform(images: Tensor) -> Tensor:
            changed = given(images) if self.train_transforms else images
            prepared: Tensor = preprocessing(augmentation(changed))
            return prepared

        return transform

    def training_mixup(self, *, n_classes: int) -> Mixup | None:
        """Return what blends the images and labels of a training batch after `training_transform`, if asked for."""
        return Mixup(alpha=self.mixup_alpha, n_classes=n_classes) if self.mixup_alpha else None

    def _known_statistics(self) -> PixelStatistics:
        if self._statistics is None:
            self._statistics = self.train_statistics(with_codeviations=self.preprocessing_settings.whitens)
        return self._statistics
