"""A quadratic pull towards earlier weights, weighted by the importance of each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lifelong.networks import TaskNetwork

Named = Mapping[str, nn.Parameter]


class Anchor(nn.Module):
    """Importances and the weights to which they hold, by parameter name; none at first.

    A parameter that comes later has importance 0 until it is given one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def extend(self, named: Named) -> None:
        """Takes in parameters that are new, with importance 0."""
        known = {*self.names}
        for name in (name for name in named if name not in known):
            p = named[name].detach()
            self.names.append(name)
            self.register_buffer(f"importance_{key(name)}", torch.zeros_like(p))
            self.register_buffer(f"weight_{key(name)}", p.clone())

    def importance(self, name: str) -> Tensor:
        return buffer_of(self, f"importance_{key(name)}")

    def weight(self, name: str) -> Tensor:
        return buffer_of(self, f"weight_{key(name)}")

    @torch.no_grad()
    def move_to(self, named: Named) -> None:
        """Makes the weights as they are now those to hold to."""
        for name, p in named.items():
            self.weight(name).copy_(p)

    @torch.no_grad()
    def join(self, named: Named, found: Mapping[str, Tensor]) -> None:
        """Takes in a further penalty: of importance `found`, towards the weights as they are now.

        A sum of penalties sum_k F_k (theta - theta_k)^2 is, up to a constant, one of importance
        sum_k F_k towards the mean of the theta_k with weights F_k; so it takes no more memory.
        """
        for name, new in found.items():
            total = self.importance(name).add_(new)
            share = torch.where(total > 0, new / total, 1.0)
            self.weight(name).lerp_(named[name], share)

    def penalty(self, named: Named) -> Tensor:
        """Sum of importance times squared distance."""
        terms = [
            (self.importance(name) * (p - self.weight(name)).square()).sum()
            for name, p in named.items()
        ]
        return torch.stack(terms).sum()

    @torch.no_grad()
    def add_gradients(self, named: Named, strength: float) -> None:
        """Adds the gradient of `strength` times the penalty to the parameters' own."""
        distances = torch._foreach_sub(list(named.values()), [self.weight(n) for n in named])
        importances = [self.importance(name) for name in named]
        gradients = [p.grad for p in named.values() if p.grad is not None]
        torch._foreach_addcmul_(gradients, distances, importances, 2 * strength)

    @torch.no_grad()
    def move_weights(self, named: Named, strengths: Mapping[str, float]) -> None:
        """The proximal step: weights go the share c / (1 + c) of the way to the anchor.

        Args:
            named: the parameters.
            strengths: c over the importance, by name.
        """
        for name, p in named.items():
            c = strengths[name] * self.importance(name)
            p.copy_((p + c * self.weight(name)) / (1 + c))

    @torch.no_grad()
    def gradients(self, named: Named, strength: float = 1.0) -> list[Tensor]:
        """The gradient of `strength` times the penalty in each parameter."""
        distances = torch._foreach_sub(list(named.values()), [self.weight(n) for n in named])
        torch._foreach_mul_(distances, [self.importance(name) for name in named])
        torch._foreach_mul_(distances, 2 * strength)
        return list(distances)


def key(name: str) -> str:
    """A parameter's name as a part of a buffer's, which has no dots; no two names have one key.

    >>> key("body._0.weight"), key("body.layer__1.weight"), key("body.layer.1.weight")
    ('body___0__weight', '__body_dlayer_u_u1_dweight', 'body__layer__1__weight')
    """
    if "__" in name or "_." in name:  # which a dot's stand-in, or what follows it, would meet
        return "__" + name.replace("_", "_u").replace(".", "_d")
    return name.replace(".", "__")


def buffer_of(module: nn.Module, name: str) -> Tensor:
    """A buffer that is there; asked in every step, where `get_buffer` takes its time."""
    found = module._buffers[name]
    if found is None:
        raise KeyError(name)
    return found


def shared(network: TaskNetwork) -> dict[str, nn.Parameter]:
    """The trained parameters that serve several tasks, by name: heads only where all have one."""
    return {
        name: p
        for name, p in network.named_parameters()
        if p.requires_grad and (network.shared_outputs or not name.startswith("heads."))
    }
