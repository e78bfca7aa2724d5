"""Lightning modules, data modules and callbacks; usable without the search engine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_modules.conv_net import ConvNet as ConvNet
    from lightning_modules.data.digits_data import DigitsDataModule as DigitsDataModule
    from lightning_modules.data.image_data import ImageDataModule as ImageDataModule
    from lightning_modules.data.random_shift import RandomShift as RandomShift
    from lightning_modules.data.tensor_loader import TensorLoader as TensorLoader
    from lightning_modules.image_classifier import ImageClassifier as ImageClassifier
    from lightning_modules.transfer.recommended import recommended_transfer as recommended_transfer
    from lightning_modules.transfer_net import TransferNet as TransferNet

_HOMES: dict[str, str] = {
    "ConvNet": "lightning_modules.conv_net",
    "DigitsDataModule": "lightning_modules.data.digits_data",
    "ImageClassifier": "lightning_modules.image_classifier",
    "ImageDataModule": "lightning_modules.data.image_data",
    "RandomShift": "lightning_modules.data.random_shift",
    "TensorLoader": "lightning_modules.data.tensor_loader",
    "TransferNet": "lightning_modules.transfer_net",
    "recommended_transfer": "lightning_modules.transfer.recommended",
}


def __getattr__(name: str) -> Any:
    """Import a public class or function on first use, so that importing the package alone costs no torch import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List what is public too, imported or not."""
    return sorted({*globals(), *_HOMES})
