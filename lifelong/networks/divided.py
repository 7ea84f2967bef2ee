"""Batches divided among processes: each computes a part of every batch, and all get the whole.

Every process runs the same program with the same draws. Where a network computes features of a
batch, a process computes those of its part alone, and the parts are put together; what follows
(heads, losses, posteriors, memories) sees the whole batch in each. Of the gradients that come back,
a process keeps those of its part, times the number of processes; the mean over all processes is
then the gradient of the whole batch, also where a loss has terms that no batch is in. So every
method computes what it does in one process, to rounding; what it draws and remembers is the same
everywhere. Only inside `divided` batches are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lifelong.backbones import moving
from lifelong.data import generators

_cutting: list[bool] = [False]  # a stack
Draws = tuple[generators.State, generators.State, generators.State]  # see _begin_draws
_sizes: list[tuple[int, Draws] | None] = []  # of batches that a body is computing


def world() -> int:
    """Processes that compute together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def divided(on: bool = True) -> Iterator[None]:
    """Within, batches are cut, if there are several processes."""
    _cutting.append(on and world() > 1)
    try:
        yield
    finally:
        _cutting.pop()


def undivided() -> Any:
    """Within, every process computes whole batches: where gradients are asked for by name."""
    return divided(False)


def spread(compute: Callable[[Tensor], Tensor], x: Tensor, blocks: int = 1) -> Tensor:
    """What is computed of a batch, by parts; where it draws, each process draws for itself.

    Args:
        compute: from images (b, c, h, w) to (blocks b, f), block after block.
        x: the batch.
        blocks: see above.
    """
    if not _cutting[-1] or len(x) < world():
        return compute(x)
    part = x.tensor_split(world())[dist.get_rank()]
    state = _begin_draws()
    with undivided():
        own = compute(part)
    _end_draws(state)
    return _joined(own, len(x), blocks)


def divide(body: nn.Module) -> None:
    """Has a module compute by parts wherever it is called, if there are several processes."""
    if world() > 1:
        body.register_forward_pre_hook(_cut)
        body.register_forward_hook(_join)


def _cut(body: nn.Module, args: Any) -> Any:
    x = args[0]
    if not _cutting[-1] or len(x) < world():
        _sizes.append(None)
        return None
    _sizes.append((len(x), _begin_draws()))
    return (x.tensor_split(world())[dist.get_rank()], *args[1:])


def _join(body: nn.Module, args: Any, own: Tensor) -> Tensor | None:
    found = _sizes.pop()
    if found is None:
        return None
    size, state = found
    _end_draws(state)
    return _joined(own, size, 1)


def _begin_draws() -> Draws:
    """Lets a process draw for itself; the common states before and after, and its own."""
    before = generators.state()
    seed = int(torch.randint(2**62, ()))  # the same everywhere
    generators.seed_others(seed)
    common = generators.state()
    generators.seed_all(seed + dist.get_rank())
    return before, common, generators.state()


def _end_draws(draws: Draws) -> None:
    """The common draws have moved on by one if anything was drawn, else not at all."""
    before, common, own = draws
    generators.put(common if generators.drew(own) else before)


def _joined(own: Tensor, size: int, blocks: int) -> Tensor:
    flat = own.view(blocks, own.shape[0] // blocks, *own.shape[1:])
    joined: Tensor = _Join.apply(flat, size)
    return joined.flatten(0, 1)


class _Join(torch.autograd.Function):
    """(blocks, b_r, ...) of every process r to (blocks, b, ...) in all of them."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, size: int) -> Tensor:
        whole = own.new_zeros(own.shape[0], size, *own.shape[2:])
        ctx.first, ctx.length = _place(size), own.shape[1]
        whole[:, ctx.first : ctx.first + ctx.length] = own
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[:, ctx.first : ctx.first + ctx.length] * world(), None


def _place(size: int) -> int:
    """The first image of this process's part."""
    each, more = divmod(size, world())
    rank = dist.get_rank()
    return rank * each + min(rank, more)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Makes gradients those of whole batches; nothing in a single process.

    A process whose part of a batch did not reach a parameter has a gradient of zeros there.
    """
    if world() == 1:
        return
    asked = [p for p in parameters if p.requires_grad]
    if not asked:
        return
    own = [float(p.grad is not None) for p in asked]
    [reached] = summed([torch.tensor(own, device=asked[0].device)])
    found = [p for p, anywhere in zip(asked, reached.tolist(), strict=True) if anywhere]
    for p in found:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    _average([p.grad for p in found if p.grad is not None])


@torch.no_grad()
def average_statistics(moved: Iterable[nn.Module]) -> None:
    """Makes running statistics of modules that moved theirs the mean of those of the parts."""
    found = [tensor for _, _, tensor in moving.buffers(moved) if tensor.is_floating_point()]
    if world() > 1:
        _average(found)


@torch.no_grad()
def summed(tensors: list[Tensor]) -> list[Tensor]:
    """Sums over all processes of what each has, in place; in one exchange for all of a type."""
    for dtype in {tensor.dtype for tensor in tensors} if world() > 1 else ():
        own = [tensor for tensor in tensors if tensor.dtype == dtype]
        packed = torch.cat([tensor.reshape(-1) for tensor in own])
        dist.all_reduce(packed)
        for tensor, total in zip(own, packed.split([t.numel() for t in own]), strict=True):
            tensor.copy_(total.view_as(tensor))
    return tensors


@torch.no_grad()
def _average(tensors: list[Tensor]) -> None:
    for tensor in summed(tensors):
        tensor /= world()
