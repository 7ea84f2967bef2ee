"""Lists and dicts of modules that are all of one kind, as the type checker sees them."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from torch import nn

M = TypeVar("M", bound=nn.Module)


class ByName(nn.ModuleDict, Generic[M]):
    """A `ModuleDict` of modules of one kind."""

    def __getitem__(self, key: str) -> M:
        return cast(M, super().__getitem__(key))


class ByNumber(nn.ModuleList, Generic[M]):
    """A `ModuleList` of modules of one kind, taken one by one."""

    def __getitem__(self, idx: int | slice) -> M:  # type: ignore[override]
        return cast(M, super().__getitem__(idx))
