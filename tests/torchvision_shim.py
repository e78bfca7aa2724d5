"""Make a torchvision importable whose compiled operators do not fit the torch that is installed.

That is how it is where torch is the CPU build of another index than torchvision's: ``import torchvision`` then raises
"operator torchvision::nms does not exist", and so does ``import pytorch_lightning``, since torchmetrics imports it.
Networks, weights, data sets and transforms need none of these operators.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

# What torchvision 0.28 describes to torch's compiler whether or not its operators could be loaded.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[object] = []  # operators live as long as what declared them


def is_installed() -> bool:
    """Whether there is a torchvision, sound or not."""
    return importlib.util.find_spec("torchvision") is not None


def make_importable() -> bool:
    """Import torchvision, declaring the operators that it misses if that fails; they raise when they are called.

    Returns:
        Whether something had to be declared: not without a torchvision, nor with a sound one.

    Raises:
        RuntimeError: If torchvision cannot be imported for another reason.
    """
    if not is_installed():
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return False
    from torch.library import Library

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = Library("torchvision", "DEF")
    _declared.append(library)
    for schema in _SCHEMAS:
        library.define(schema)
    importlib.import_module("torchvision")
    return True
