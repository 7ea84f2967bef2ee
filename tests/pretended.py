"""A device that is none: tensors that say they lie on it, and refuse to meet those of the CPU.

Its kernels are those of the CPU, so that its numbers are the CPU's. What is asked of it is counted:
kernel launches, copies to it, and waits for it (copies from it, numbers that Python asks for).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.strategies import SingleDeviceStrategy, StrategyRegistry
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
# Operations that take numbers or places from the CPU, as CUDA's do.
MEET = {"copy_", "_to_copy", "index", "index_put_", "index_put", "_index_put_impl_"}


class Backend(backend_registration._DummyBackendModule):
    """What PyTorch asks of a device's module; its generator is that of the CPU."""

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)


def _registered() -> torch.device:
    if torch._C._get_privateuse1_backend_name() != NAME:
        backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
    return torch.device(NAME, 0)


DEVICE = _registered()


class Pretended(torch.Tensor):
    """A tensor of the device; `held` is where its numbers are."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretended:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)  # in a file it is one of the CPU

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: the device is not there")


class Device(TorchDispatchMode):
    """Within, there is the device.

    Attributes:
        counts: `launches`, `copies` and `waits`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.depth = 0

    def __enter__(self) -> Device:
        torch._C._set_only_lift_cpu_tensors(True)  # so `torch.tensor(.., device=..)` comes here
        torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay the same
        super().__enter__()
        self.depth += 1
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.depth -= 1
        torch._C._set_only_lift_cpu_tensors(self.depth > 0)
        torch.__future__.set_swap_module_params_on_conversion(self.depth > 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with torch._C.DisableTorchFunction():  # what is asked here is nobody else's concern
            return self._done(func, args, kwargs)

    def _done(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        here = [x for x in tensors if isinstance(x, Pretended)]
        to = kwargs.get("device")
        comes = to is not None and torch.device(to).type == NAME
        if not here and not comes:
            return func(*args, **kwargs)
        with self:  # what is made of other operations, as it comes in inference
            found = func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
        name = func.__name__.split(".")[0]
        others = [x for x in tensors if not isinstance(x, Pretended) and x.dim()]
        if others and name not in MEET:
            shapes = [tuple(x.shape) for x in others]
            raise RuntimeError(f"{func}: tensors of the CPU, {shapes}, meet those of the device")
        self._count(func, name, here, others, comes, to is not None and not comes)
        given = {**kwargs, "device": "cpu"} if to is not None else kwargs
        found = func(*tree_map(_held, args), **tree_map(_held, given))
        if name == "_local_scalar_dense" or (to is not None and not comes):
            return found
        if name == "copy_" and not isinstance(args[0], Pretended):
            return args[0]
        wrapped = tree_map(_wrapped, found)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if here else wrapped

    def _count(
        self, func: Any, name: str, here: list[Any], others: list[Any], comes: bool, goes: bool
    ) -> None:
        from_device = name == "copy_" and bool(others) and bool(here) and not comes
        if name == "_local_scalar_dense" or goes or name in ("nonzero", "equal", "_unique2"):
            self.counts["waits"] += 1
        elif (name == "_to_copy" and not here) or (from_device and name == "copy_"):
            self.counts["copies"] += 1
        elif not getattr(func, "is_view", False) and name not in ("detach", "alias"):
            self.counts["launches"] += 1


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Pretended) else x


def _wrapped(x: Any) -> Any:
    return Pretended(x) if isinstance(x, torch.Tensor) and not isinstance(x, Pretended) else x


class PretendedAccelerator(Accelerator):
    """The device, as Lightning knows devices."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> list[int]:
        return [0]

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [DEVICE]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


class OnPretended(SingleDeviceStrategy):
    """All on the device."""

    def __init__(self, **options: Any) -> None:
        super().__init__(device=DEVICE, **options)


if NAME not in AcceleratorRegistry.available_accelerators():
    AcceleratorRegistry.register(NAME, PretendedAccelerator, description="none")
    StrategyRegistry.register(NAME, OnPretended)

OPTIONS = [
    f"trainer.accelerator={NAME}",
    f"++trainer.strategy={NAME}",
    "++trainer.inference_mode=false",
]
