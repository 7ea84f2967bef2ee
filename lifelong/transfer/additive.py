"""Additive sharing: shared weights under a mask of the task, plus the task's own part (APD).

Yoon, Kim, Yang, Hwang, "Scalable and Order-robust Continual Learning with Additive Parameter
Decomposition", ICLR 2020: theta_t = S * m_t + tau_t. Two forms: the paper's, with a mask for each
output channel and biases of the task's own, and that of LASEM's released program (ICML 2021),
with a mask for each weight and one shared bias.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lifelong.backbones import Layer
from lifelong.backbones.backbone import truncated_normal
from lifelong.backbones.containers import ByName
from lifelong.networks.network import count
from lifelong.transfer.layer import TransferLayer


class Part(nn.Module):
    """M_{t,l}: what a task has of its own.

    Attributes:
        mask: Omega, logits of the mask, of the weight's shape or (c_out,).
        tau: of the weight's shape.
        bias: (c_out,), or None where the bias is shared.
        group: what tau has in common with those of other tasks, of the weight's shape; zero until
            tasks are clustered.
    """

    group: Tensor

    def __init__(self, tau: Tensor, mask: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.tau, self.mask = nn.Parameter(tau), nn.Parameter(mask)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.register_buffer("group", torch.zeros_like(tau))


class AdditiveTransferLayer(TransferLayer):
    """S_l is a weight and a bias; W_t = S * sigmoid(Omega_t) + tau_t.

    Args:
        layer: the layer of the body.
        number: of the layer in the body.
        variant: `release`: a mask entry for each weight, and the bias is shared (LASEM's program);
            `full`: one for each output channel, biases of the tasks' own, and tau starts as a copy
            of S (the paper).
        threshold: with `full`, entries of tau below this count as zero outside training.
    """

    shared_params: Layer
    mapping: ByName[Part]

    def __init__(
        self,
        layer: Layer,
        number: int,
        variant: Literal["release", "full"] = "release",
        threshold: float = 0.0,
    ) -> None:
        self.variant = variant
        self.threshold = threshold if variant == "full" else 0.0
        super().__init__(layer, number)

    def make_shared(self) -> nn.Module:
        return self.template.reinitialized()

    def shared(self) -> Layer:
        return self.shared_params

    def part(self, task: int) -> Part:
        return self.mapping[str(task)]

    def make_mapping(self) -> nn.Module:
        weight, bias = self.shared().weight.detach(), self.shared().bias.detach()
        if self.variant == "release":
            tau, mask = torch.empty_like(weight), torch.empty_like(weight)
            for drawn in (tau, mask):
                truncated_normal(drawn)
            return Part(tau, mask, None)
        mask = torch.empty_like(bias)
        truncated_normal(mask)
        return Part(weight.clone(), mask, bias.clone())

    def train_only(self, task: int) -> None:
        """With `full`, the parts of earlier tasks are trained along."""
        super().train_only(task)
        if self.variant == "full":
            for key in self.mapping:
                self.part(int(key)).tau.requires_grad_()

    def own(self, task: int) -> Tensor:
        """tau, with what it has in common with other tasks; small entries only in training."""
        part = self.part(task)
        if self.training or not self.threshold:
            return part.tau + part.group
        return part.tau * (part.tau.abs() >= self.threshold) + part.group

    def masked_shared(self, task: int) -> Tensor:
        """S * sigmoid(Omega_t)."""
        weight, mask = self.shared().weight, self.part(task).mask.sigmoid()
        return weight * (mask if mask.dim() > 1 else mask.view(-1, *[1] * (weight.dim() - 1)))

    def shared_weight(self, task: int) -> tuple[Tensor, Tensor]:
        bias = self.part(task).bias
        weight = self.masked_shared(task) + self.own(task)
        return weight, self.shared().bias if bias is None else bias

    def size(self) -> int:
        """Entries of tau that count as zero are not counted; a common part is counted once."""
        parts = [part for part in self.mapping.values() if isinstance(part, Part)]
        kept = count(*self.private.values())
        if not parts:
            return kept
        kept += self.shared().weight.numel()
        kept += self.shared().bias.numel() if self.variant == "release" else 0
        for part in parts:
            kept += part.mask.numel() + (0 if part.bias is None else part.bias.numel())
            kept += int((part.tau.abs() >= self.threshold).sum())
        groups = torch.stack([part.group.flatten() for part in parts])
        kept += sum(int((row != 0).sum()) for row in torch.unique(groups, dim=0))
        return kept
