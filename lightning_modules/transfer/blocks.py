"""The blocks of a backbone in the order of its layers, which a training freezes from the first one on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from lightning_modules.arguments import ArgumentError

_OF_THE_LAYER_BEFORE = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm2d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.PReLU,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Neighbouring modules that are frozen together.

    Attributes:
        name: Of the module that the block is known by, dotted, within the network.
        modules: Dotted names of all of them; disjoint subtrees.
    """

    name: str
    modules: tuple[str, ...]


def backbone_blocks(network: nn.Module, *, head: str) -> tuple[Block, ...]:
    """Divide a network without its head into blocks, in the order in which it registers its modules.

    A block is a child of ``features``, of the part that the head is in, or of the network itself (``layer4`` of a
    ResNet). Normalization belongs to the block before it, dropout and pooling to the one after; what stands between
    the last block and the head belongs to neither, and is never frozen.

    Args:
        network: The whole network.
        head: Dotted name of its last layer.

    Returns:
        At least one block.

    Raises:
        ValueError: If there is nothing but the head.
    """
    blocks: list[Block] = []
    waiting: list[str] = []
    for name, module in _parts(network, "", head):
        own = [each for each in module.modules() if any(True for _ in each.parameters(recurse=False))]
        if not own:
            waiting.append(name)
        elif blocks and all(isinstance(each, _OF_THE_LAYER_BEFORE) for each in own):
            blocks[-1] = Block(name=blocks[-1].name, modules=(*blocks[-1].modules, *waiting, name))
            waiting.clear()
        else:
            blocks.append(Block(name=name, modules=(*waiting, name)))
            waiting.clear()
    if not blocks:
        raise ArgumentError(
            f"`backbone` must have layers before its head {head}, but {type(network).__name__} has none."
        )
    return tuple(blocks)


def _parts(module: nn.Module, prefix: str, head: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if path == "features" or head.startswith(f"{path}."):
            yield from _parts(child, f"{path}.", head)
        elif path != head:
            yield path, child
