"""Running statistics and the like, whatever their module is called: buffers that forwards move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Mark = tuple[tuple[int, int], ...]


class Moving:
    """Tells which modules have moved their buffers since it last looked.

    A module has moved when one of its own buffers was written to or replaced. All of them count
    then: of a batch-norm's, only the count of batches shows that it was written to.

    Args:
        modules: that are watched.

    >>> import torch
    >>> norm = nn.BatchNorm1d(3)
    >>> moving = Moving(nn.Sequential(nn.Linear(3, 3), norm).modules())
    >>> out = norm(torch.randn(5, 3))
    >>> [sorted(name for name, _ in each.named_buffers()) for each in moving.moved()]
    [['num_batches_tracked', 'running_mean', 'running_var']]
    >>> out = norm.eval()(out)
    >>> moving.moved()
    []
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._marks = {each: _mark(each) for each in modules if each._buffers}

    def moved(self) -> list[nn.Module]:
        """Since the last call, or since it was made."""
        found = [each for each, before in self._marks.items() if _mark(each) != before]
        self._marks.update({each: _mark(each) for each in found})
        return found


def note_movers(modules: Iterable[nn.Module]) -> None:
    """Notes modules that were seen to move their buffers, for `moves`; copies keep the note."""
    for each in modules:
        each._moves_buffers = True  # type: ignore[assignment]


def moves(module: nn.Module) -> bool:
    """Whether a module's own buffers move while it is trained: a norm's, or it was seen to.

    >>> moves(nn.BatchNorm2d(3)), moves(nn.Linear(3, 3))
    (True, False)
    """
    return isinstance(module, nn.modules.batchnorm._NormBase) or hasattr(module, "_moves_buffers")


def buffers(modules: Iterable[nn.Module]) -> list[tuple[nn.Module, str, Tensor]]:
    """The modules' own: where each is, its name, and itself."""
    return [
        (each, name, tensor)
        for each in modules
        for name, tensor in each.named_buffers(recurse=False)
    ]


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Within, forwards may move buffers; after it they are as before."""
    found = [(*place, place[-1].clone()) for place in buffers(module.modules())]
    try:
        yield
    finally:
        put_back(found)


@torch.no_grad()
def put_back(found: Iterable[tuple[nn.Module, str, Tensor, Tensor]]) -> None:
    """Gives buffers their place and the values that they had."""
    for module, name, buffer, value in found:
        setattr(module, name, buffer.copy_(value))


def _mark(module: nn.Module) -> Mark:
    """Changes whenever own buffers are written to; those made in inference mode have no count."""
    return tuple(
        (id(tensor), 0 if tensor.is_inference() else tensor._version)
        for tensor in module._buffers.values()
        if tensor is not None
    )
