"""Lightning modules, data modules and callbacks; usable without the search engine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_modules.alexnet import AlexNet as AlexNet
    from lightning_modules.conv_net import ConvNet as ConvNet
    from lightning_modules.data.cifar_data import CIFAR10DataModule as CIFAR10DataModule
    from lightning_modules.data.cifar_data import CIFAR100DataModule as CIFAR100DataModule
    from lightning_modules.data.digits_data import DigitsDataModule as DigitsDataModule
    from lightning_modules.data.image_data import ImageDataModule as ImageDataModule
    from lightning_modules.data.image_folder_data import ImageFolderDataModule as ImageFolderDataModule
    from lightning_modules.data.mnist_data import FashionMNISTDataModule as FashionMNISTDataModule
    from lightning_modules.data.mnist_data import KMNISTDataModule as KMNISTDataModule
    from lightning_modules.data.mnist_data import MNISTDataModule as MNISTDataModule
    from lightning_modules.data.numpy_data import NumpyDataModule as NumpyDataModule
    from lightning_modules.data.prepares_images import PreparesImages as PreparesImages
    from lightning_modules.data.preprocessing import Preprocessing as Preprocessing
    from lightning_modules.data.random_shift import RandomShift as RandomShift
    from lightning_modules.data.stream_loader import StreamLoader as StreamLoader
    from lightning_modules.data.streamable_data import StreamableImageDataModule as StreamableImageDataModule
    from lightning_modules.data.svhn_data import SVHNDataModule as SVHNDataModule
    from lightning_modules.data.tensor_loader import TensorLoader as TensorLoader
    from lightning_modules.data.torchvision_data import TorchvisionDataModule as TorchvisionDataModule
    from lightning_modules.ensembles.weight_snapshots import WeightSnapshots as WeightSnapshots
    from lightning_modules.image_classifier import ImageClassifier as ImageClassifier
    from lightning_modules.lenet import LeNet as LeNet
    from lightning_modules.resnet import ResNet as ResNet
    from lightning_modules.transfer.recommended import recommended_transfer as recommended_transfer
    from lightning_modules.transfer_net import TransferNet as TransferNet

_HOMES: dict[str, str] = {
    "AlexNet": "lightning_modules.alexnet",
    "CIFAR100DataModule": "lightning_modules.data.cifar_data",
    "CIFAR10DataModule": "lightning_modules.data.cifar_data",
    "ConvNet": "lightning_modules.conv_net",
    "DigitsDataModule": "lightning_modules.data.digits_data",
    "FashionMNISTDataModule": "lightning_modules.data.mnist_data",
    "ImageClassifier": "lightning_modules.image_classifier",
    "ImageDataModule": "lightning_modules.data.image_data",
    "ImageFolderDataModule": "lightning_modules.data.image_folder_data",
    "KMNISTDataModule": "lightning_modules.data.mnist_data",
    "LeNet": "lightning_modules.lenet",
    "MNISTDataModule": "lightning_modules.data.mnist_data",
    "NumpyDataModule": "lightning_modules.data.numpy_data",
    "PreparesImages": "lightning_modules.data.prepares_images",
    "Preprocessing": "lightning_modules.data.preprocessing",
    "RandomShift": "lightning_modules.data.random_shift",
    "ResNet": "lightning_modules.resnet",
    "SVHNDataModule": "lightning_modules.data.svhn_data",
    "StreamLoader": "lightning_modules.data.stream_loader",
    "StreamableImageDataModule": "lightning_modules.data.streamable_data",
    "TensorLoader": "lightning_modules.data.tensor_loader",
    "TorchvisionDataModule": "lightning_modules.data.torchvision_data",
    "TransferNet": "lightning_modules.transfer_net",
    "WeightSnapshots": "lightning_modules.ensembles.weight_snapshots",
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
