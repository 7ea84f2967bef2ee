"""A frozen body, and a low-rank change of its weights for each task (Hu et al., ICLR 2022)."""

import torch
from torch import nn
from torch.func import functional_call

from lifelong import Strategy


class LoRA(Strategy):
    def __init__(self, network, optimizer, schedule, rank: int = 2):
        super().__init__(network, optimizer, schedule)
        self.rank, self.low = rank, nn.ParameterDict()

    def weights(self):
        named = self.network.named_parameters()
        return {name: p for name, p in named if name.startswith("body.") and p.dim() > 1}

    def begin_task(self, visit):
        super().begin_task(visit)
        self.network.body.requires_grad_(visit.number == 1)
        for p in self.low.values():
            p.requires_grad_(False)
        for name, p in self.weights().items() if visit.number > 1 else ():
            key = f"{visit.task.index}_{name.replace('.', '_')}"
            low = 0.1 * torch.randn(self.rank, p[0].numel())
            self.low.setdefault(f"{key}_a", nn.Parameter(low))
            self.low.setdefault(f"{key}_b", nn.Parameter(torch.zeros(len(p), self.rank)))
            self.low[f"{key}_a"].requires_grad_()
            self.low[f"{key}_b"].requires_grad_()

    def forward(self, x, t):
        changed = {}
        for name, p in self.weights().items():
            key = f"{int(t[0])}_{name.replace('.', '_')}"
            if f"{key}_a" in self.low:
                changed[name] = p + (self.low[f"{key}_b"] @ self.low[f"{key}_a"]).view_as(p)
        return functional_call(self.network, changed, (x, t))
