"""Put a file's weights into a network whose head, and perhaps number of channels, are others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from lightning_modules.arguments import ArgumentError

_N_LISTED = 5
_COUNTER = "num_batches_tracked"
"""A buffer of batch normalization that old files lack, and that only a momentum of None reads."""


def load_backbone(network: nn.Module, state: Mapping[str, Tensor], *, head: str, first_layer: str, source: str) -> None:
    """Copy all weights and buffers but those of the head.

    Names may have any prefix in common in the file (``network.``, ``model.``, ``module.``). Where the channels differ,
    the first convolution is adapted: from 3 channels to 1 the kernels are summed, which is exact for a grey image in
    all three; from 1 to 3 each gets a third of the kernel, which is exact for the mean of the channels.

    Args:
        network: Changed in place.
        state: Names and tensors as read from the file.
        head: Dotted name of the network's last layer, which keeps its weights.
        first_layer: Dotted name of its first convolution.
        source: What the file is called in errors.

    Raises:
        ValueError: If a weight of the backbone is missing or of another shape, or the file has one that the network
            has not.
    """
    own_head = f"{head}."
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(own_head)}
    prefix = _common_prefix(wanted, state)
    if prefix is None:
        raise ArgumentError(
            f"`weights` {source} has no weight of this backbone: expected names such as {_listed(wanted)}, "
            f"but got {_listed(state)}."
        )
    given = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    kernels = f"{first_layer}.weight"
    if kernels in given:
        given[kernels] = _with_channels(given[kernels], n_channels=wanted[kernels].shape[1])
    problems = [
        f"{name}: expected {_shape(tensor)}, but got {_shape(given[name]) if name in given else 'nothing'}"
        for name, tensor in wanted.items()
        if (name not in given and not name.endswith(_COUNTER)) or (name in given and given[name].shape != tensor.shape)
    ]
    problems += [
        f"{name}: expected nothing, but got {_shape(tensor)}"
        for name, tensor in given.items()
        if name not in wanted and not name.startswith(own_head)
    ]
    if problems:
        more = f"; and {len(problems) - _N_LISTED} more" if len(problems) > _N_LISTED else ""
        raise ArgumentError(
            f"`weights` {source} does not fit the backbone {type(network).__name__}: "
            f"{'; '.join(problems[:_N_LISTED])}{more}. `backbone` must be made as it was when they were trained."
        )
    network.load_state_dict({name: given[name] for name in wanted if name in given}, strict=False)


def _common_prefix(wanted: Iterable[str], names: Iterable[str]) -> str | None:
    """Return what stands before most of the wanted names, the shortest of equals; None if none is there."""
    known = set(wanted)
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in known:
                counts["".join(f"{part}." for part in parts[:i])] += 1
    return min(counts, key=lambda prefix: (-counts[prefix], len(prefix))) if counts else None


def _with_channels(kernels: Tensor, *, n_channels: int) -> Tensor:
    """Return kernels ``(n_out, n_channels, h, w)``, or those given where there is no exact way."""
    if kernels.ndim == 4 and (kernels.shape[1], n_channels) == (3, 1):
        return kernels.sum(dim=1, keepdim=True)
    if kernels.ndim == 4 and (kernels.shape[1], n_channels) == (1, 3):
        return kernels.repeat(1, 3, 1, 1) / 3.0
    return kernels


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:_N_LISTED])
