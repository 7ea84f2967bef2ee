"""Prompts beside the tokens of a vision transformer that stays as it is, other ones in each image.

Tokens join those of an image from one block on; or keys and values join those of a block's
attention (prefix tuning: Li, Liang, "Prefix-Tuning", ACL 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones import Wrapped
from lifelong.backbones.blocks import found
from lifelong.backbones.low_rank import Learned
from lifelong.backbones.prompts import width_of_tokens, with_prompts, without_prompts

Prefix = tuple[Tensor, Tensor]  # keys and values, (b, n, d) each


def blocks_of_tokens(body: nn.Module, method: str) -> tuple[list[nn.Module], int]:
    """The blocks of a vision transformer, and the length d of its tokens.

    Raises:
        ValueError: a body of another kind, or one whose features are kept.
    """
    wrong = f"strategy={method}: needs a vision transformer, such as backbone=timm"
    if not isinstance(body, Wrapped):
        raise ValueError(
            f"{wrong} backbone.name=vit_tiny_patch16_224; {type(body).__name__} is none"
        )
    if any(isinstance(module, Learned) for module in body.modules()):
        raise ValueError(
            f"backbone.lora, backbone.prompts: strategy={method} has prompts of its own and trains "
            "nothing else of the body; leave both out"
        )
    if body.cache:
        raise ValueError(
            f"backbone.cache=true: strategy={method} asks the body anew with its prompts; leave it "
            "out"
        )
    names = list(body.block_names) or [f"module.{name}" for name in found(body.module)]
    widths = [width_of_tokens(body, name, body.shape) for name in names]
    if None in widths or len(set(widths)) > 1:
        raise ValueError(f"{wrong}; the blocks of {type(body.module).__name__} do not take tokens")
    return [body.get_submodule(name) for name in names], int(widths[0] or 0)


@contextmanager
def prompts_beside(
    blocks: list[nn.Module],
    tokens: Tensor | None = None,
    prefixes: Mapping[int, Prefix] | None = None,
) -> Iterator[None]:
    """Within, blocks see prompts beside the tokens of each image of a batch.

    Args:
        blocks: of the body.
        tokens: (b, n, d), behind the first token of each image, from the first block to the last.
        prefixes: keys and values before those of the attention of some blocks, by their number.

    Raises:
        ValueError: a block whose attention is not PyTorch's.
    """
    handles = []
    if tokens is not None:
        handles.append(blocks[0].register_forward_pre_hook(_with(tokens)))
        handles.append(blocks[-1].register_forward_hook(_without(tokens.shape[1])))
    for number, prefix in (prefixes or {}).items():
        handles += _prefix(blocks[number], prefix)
    try:
        with _slow_attention():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _with(tokens: Tensor) -> Callable[..., Any]:
    def join(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (with_prompts(given[0], tokens.to(given[0].dtype)), *given[1:])

    return join


def _without(more: int) -> Callable[..., Any]:
    def part(_: nn.Module, given: Any, x: Tensor) -> Tensor:
        return without_prompts(x, more)

    return part


def _prefix(block: nn.Module, prefix: Prefix) -> list[Any]:
    """Hooks that exchange PyTorch's attention while a block computes."""
    plain, asked = F.scaled_dot_product_attention, list[bool]()

    def longer(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor:
        asked.append(True)
        keys, values = (_by_head(part, key) for part in prefix)
        longer_key, longer_value = torch.cat([keys, key], 2), torch.cat([values, value], 2)
        return plain(query, longer_key, longer_value, *args, **options)

    def begin(_: nn.Module, given: Any) -> None:
        F.scaled_dot_product_attention = longer

    def end(module: nn.Module, given: Any, out: Any) -> None:
        F.scaled_dot_product_attention = plain
        if not asked:
            raise ValueError(
                f"backbone: the attention of {type(module).__name__} is not PyTorch's "
                "scaled_dot_product_attention, which prompts join; give another network"
            )

    return [block.register_forward_pre_hook(begin), block.register_forward_hook(end)]


def _by_head(prompts: Tensor, like: Tensor) -> Tensor:
    """(b, n, d) as (b, heads, n, d / heads)."""
    heads = like.shape[1]
    rows, n, d = prompts.shape
    return prompts.view(rows, n, heads, d // heads).transpose(1, 2).to(like.dtype)


@contextmanager
def _slow_attention() -> Iterator[None]:
    """Has PyTorch's own layers call the attention that hooks exchange; puts it back whatever is."""
    plain, fast = F.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain
        torch.backends.mha.set_fastpath_enabled(fast)
