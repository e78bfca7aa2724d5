"""A packaged model in the form in which MLflow loads models."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from search.model_package import CODE, DATA, EXAMPLES_NAME, PackageDescription, read_description
from search.tracking.quiet import silence_import_of_pyfunc

if TYPE_CHECKING:
    import numpy as np
    from mlflow.models import ModelSignature
    from numpy.typing import NDArray


def save_pyfunc_model(package: Path, directory: Path, *, metadata: Mapping[str, str]) -> None:
    """Write what ``mlflow.pyfunc.load_model`` reads; nothing of the model is loaded or run for it.

    Args:
        package: The file that a worker has written.
        directory: To write to; a folder beside it holds the unpacked package.
        metadata: What the model says of itself.

    Raises:
        OSError: If the package cannot be read, or the directory not be written.
        ValueError: If the package is damaged.
    """
    import numpy as np

    silence_import_of_pyfunc()
    from mlflow import pyfunc

    unpacked = directory.with_name(f"{directory.name}-package")
    try:
        with zipfile.ZipFile(package) as archive:
            archive.extractall(unpacked)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{package} is damaged: {error}") from error
    description = read_description(unpacked)
    examples = np.load(unpacked / EXAMPLES_NAME)
    pyfunc.save_model(
        directory,
        loader_module=description.loader_module,
        data_path=str(unpacked / DATA),
        code_paths=[str(each) for each in sorted((unpacked / CODE).iterdir())],
        signature=_signature(description, examples),
        input_example=examples,
        pip_requirements=list(description.requirements),
        metadata=dict(metadata),
    )


def _signature(description: PackageDescription, examples: NDArray[np.generic]) -> ModelSignature:
    """Return what the model takes, any number of images of one shape and dtype, and the columns that it returns."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    columns: list[ColSpec | TensorSpec] = [ColSpec("long", "predicted")]
    if description.has_class_names:
        columns.append(ColSpec("string", "predicted_name"))
    columns += [ColSpec("double", f"probability_{index}") for index in range(description.n_classes)]
    return ModelSignature(
        inputs=Schema([TensorSpec(examples.dtype, (-1, *examples.shape[1:]))]), outputs=Schema(columns)
    )
