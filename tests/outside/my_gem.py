"""GEM: steps that raise the loss on no earlier task (Lopez-Paz, Ranzato, NeurIPS 2017)."""

import torch
import torch.nn.functional as F
from scipy.optimize import nnls

from lifelong import RingBuffer, Strategy


class GEM(Strategy):
    def __init__(self, network, optimizer, schedule, per_class: int = 5, margin: float = 0.5):
        super().__init__(network, optimizer, schedule)
        self.memory, self.margin = RingBuffer(per_class), margin

    def begin_task(self, visit):
        super().begin_task(visit)
        self.memory.begin_task(visit)

    def training_loss(self, batch):
        self.memory.add(batch)
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        losses = []
        for task in self.classes:
            if task != self.current:
                old, _ = self.memory.sample(of=task)
                losses.append(F.cross_entropy(self(old.x, old.t), old.y))
        self.references = [
            flat(torch.autograd.grad(loss, self.trained, allow_unused=True), self.trained)
            for loss in losses
        ]
        return super().training_loss(batch)

    def on_after_backward(self):
        if self.references:
            earlier = torch.stack(self.references).double()
            own = flat([p.grad for p in self.trained], self.trained).double()
            v, _ = nnls(earlier.T.numpy(), -own.numpy())
            if v.any():
                own += torch.from_numpy(v + self.margin * (v > 0)) @ earlier
            for p, part in zip(
                self.trained, own.split([p.numel() for p in self.trained]), strict=True
            ):
                p.grad = part.view_as(p).to(p.dtype)


def flat(gradients, params):
    pairs = zip(gradients, params, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
