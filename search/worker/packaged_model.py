"""The code within a packaged model: from raw images to class probabilities.

A copy of this file goes into every package, so it imports nothing of zeroin, and is all the code that an exported model
needs besides torch, NumPy and pandas.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from pandas import DataFrame

DESCRIPTION_NAME = "model.json"
EXPORTED_NAME = "model.pt2"
PREPROCESSING_NAME = "preprocessing.pt2"

_N_AT_ONCE = 256


class RawImageEnsemble(nn.Module):
    """The mean of the members' class probabilities, from raw images.

    Args:
        members: Networks from what `preprocessing` returns to scores ``(N, n_classes)``.
        preprocessing: From raw images to the networks' input; None if they take the images as they are.
    """

    def __init__(self, members: Sequence[nn.Module], preprocessing: nn.Module | None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities ``(N, n_classes)`` in float64.

        Args:
            images: Raw, ``(N, ...)``, mostly ``(N, C, H, W)``.
        """
        prepared = images if self.preprocessing is None else self.preprocessing(images)
        # A member's `forward` may change its input in place; the others must not see that.
        each = [torch.softmax(scores(member, prepared).double(), dim=1) for member in self.members]
        return torch.stack(each).mean(dim=0)


class Classifier:
    """What MLflow calls.

    Args:
        model: From raw images to probabilities ``(N, n_classes)``.
        class_names: Of all classes in the order of their labels; None if they have none.
    """

    def __init__(self, model: Any, class_names: Sequence[str] | None) -> None:
        self._model = model
        self._class_names = None if class_names is None else np.array(class_names, dtype=object)

    def probabilities(self, images: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return the probabilities of the classes, ``(N, n_classes)``, for raw images ``(N, ...)``, N >= 1."""
        parts = torch.split(torch.from_numpy(np.ascontiguousarray(images)), _N_AT_ONCE)
        with torch.inference_mode():
            found: NDArray[np.float64] = torch.cat([self._model(part) for part in parts]).numpy()
        return found

    def predict(self, images: NDArray[np.generic], params: dict[str, Any] | None = None) -> DataFrame:
        """Return a row for each image.

        Args:
            images: Raw, ``(N, ...)`` as the model's signature has it, N >= 1.
            params: Not used.

        Returns:
            Columns ``predicted`` (label of the most probable class), ``predicted_name`` if classes have names, and
            ``probability_0``, ``probability_1``, … by label.

        Raises:
            ValueError: If there is no image.
        """
        from pandas import DataFrame  # workers do without it

        if not len(images):
            raise ValueError(f"there must be an image, but `images` has shape {images.shape}.")
        probabilities = self.probabilities(images)
        predicted = probabilities.argmax(axis=1)
        columns: dict[str, Any] = {"predicted": predicted}
        if self._class_names is not None:
            columns["predicted_name"] = self._class_names[predicted]
        return DataFrame({**columns, **{f"probability_{c}": values for c, values in enumerate(probabilities.T)}})


def _load_pyfunc(path: str) -> Classifier:
    """Load the model; MLflow asks for it by this name."""
    return load(Path(path))


def load(directory: Path) -> Classifier:
    """Load the model.

    Args:
        directory: Of the package's data.
    """
    description = json.loads((directory / DESCRIPTION_NAME).read_text())
    exported = directory / EXPORTED_NAME
    model = torch.export.load(exported).module() if exported.exists() else _rebuilt(directory, description["rebuilt"])
    return Classifier(model, description["class_names"])


def _rebuilt(directory: Path, recipe: dict[str, Any]) -> nn.Module:
    """Make the members anew from their class, which must be importable, and their weights."""
    module, _, name = recipe["class_path"].rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    members = []
    for weights, init_args in zip(recipe["weights"], recipe["init_args"], strict=True):
        member = cls(**init_args)
        if callable(configure_model := getattr(member, "configure_model", None)):
            configure_model()
        member.load_state_dict(torch.load(directory / weights, weights_only=True), strict=recipe["is_strict"])
        members.append(member)
    prepared = directory / PREPROCESSING_NAME
    preprocessing = torch.export.load(prepared).module() if prepared.exists() else None
    model = RawImageEnsemble(members, preprocessing)
    for member in model.members:  # what is exported is in its final mode
        member.eval()
    return model


def scores(member: nn.Module, prepared: Tensor) -> Any:
    """Return what the member gives, as its tests take it: by ``predicted_scores`` if it has that, else ``forward``.

    Args:
        member: A network.
        prepared: What networks take; the member gets a copy, in the dtype of its weights.
    """
    dtype = next((each.dtype for each in member.parameters() if each.is_floating_point()), prepared.dtype)
    copy = prepared.to(dtype, copy=True) if prepared.is_floating_point() else prepared.clone()
    return getattr(member, "predicted_scores", member)(copy)
