"""The candidate configurations as one tree: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lifelong.transfer.config import TransferConfig


@dataclass(frozen=True)
class Level:
    """Which prefixes of length l - 1 go on into each form of layer l.

    Entries are block numbers of the level above; None stands for all of them, in order.
    """

    children: list[tuple[int, list[int] | None]]  # of each form that is taken
    blocks: list[TransferConfig]  # prefixes of length l, in the order of the blocks


class PrefixTree:
    """Levels of distinct prefixes; on each level the shared children stand before the private.

    For all configurations the last blocks are in the order of `index_of`.

    Args:
        configs: distinct configurations of equal length.

    Attributes:
        levels: one a layer.
        order: block of each configuration on the last level, or None if they agree.
    """

    def __init__(self, configs: Sequence[TransferConfig]) -> None:
        self.configs = list(configs)
        self.levels: list[Level] = []
        above: list[TransferConfig] = [()]
        for depth in range(1, len(self.configs[0]) + 1):
            wanted = {config[:depth] for config in self.configs}
            forms = sorted({config[-1] for config in wanted}, key=lambda form: (not form, form))
            children = {
                form: [block for block, prefix in enumerate(above) if (*prefix, form) in wanted]
                for form in forms
            }
            blocks = [(*above[block], form) for form in forms for block in children[form]]
            everyone = list(range(len(above)))
            taken = [(f, None if own == everyone else own) for f, own in children.items()]
            self.levels.append(Level(taken, blocks))
            above = blocks
        number = {prefix: block for block, prefix in enumerate(above)}
        order = [number[config] for config in self.configs]
        self.order = None if order == list(range(len(above))) else order

    def ancestors(self, layer: int, earlier: int) -> list[int]:
        """Block on level `earlier` from which each block of level `layer` comes."""
        blocks = self.levels[earlier].blocks
        number = {prefix: block for block, prefix in enumerate(blocks)}
        return [number[prefix[: earlier + 1]] for prefix in self.levels[layer].blocks]
