"""PackNet: a task leaves its least weights to the next (Mallya, Lazebnik, CVPR 2018)."""

import torch
from torch.func import functional_call

from lifelong import Round, Strategy


class PackNet(Strategy):
    def __init__(self, network, optimizer, schedule, keep: float = 0.5, epochs: int = 2):
        super().__init__(network, optimizer, schedule)
        self.keep, self.epochs = keep, epochs
        self.learned, self.dense = {}, False
        for name, p in self.weights().items():  # 0: free, else the visit whose weight it is
            self.register_buffer(f"owner_{name.replace('.', '_')}", torch.zeros_like(p))

    def weights(self):
        named = self.network.named_parameters()
        return {name: p for name, p in named if name.startswith("body.") and p.dim() > 1}

    def owner(self, name):
        return self.get_buffer(f"owner_{name.replace('.', '_')}")

    def begin_task(self, visit):
        super().begin_task(visit)
        self.learned[visit.task.index] = self.number = visit.number
        for name, p in self.network.named_parameters():
            if name.startswith("body.") and p.dim() == 1:
                p.requires_grad_(visit.number == 1)

    def rounds(self, visit):
        self.dense = True
        yield Round()
        self.dense = False
        for name, p in self.weights().items():
            free = self.owner(name) == 0
            least = p.detach()[free].abs().quantile(1 - self.keep)
            self.owner(name)[free & (p.detach().abs() >= least)] = visit.number
        yield Round("retrain", epochs=self.epochs)

    def forward(self, x, t):
        number = self.learned[int(t[0])]
        used = {}
        for name, p in self.weights().items():
            owner = self.owner(name)
            free = (owner == 0) & (self.dense and number == self.number)
            used[name] = p * (((owner > 0) & (owner <= number)) | free)
        return functional_call(self.network, used, (x, t))

    def on_after_backward(self):
        for name, p in self.weights().items():
            p.grad *= self.owner(name) == (0 if self.dense else self.number)
