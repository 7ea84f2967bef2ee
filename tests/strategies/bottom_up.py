"""A small bottom-up method, its rounds over planted accuracies, and a short run's options."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from lifelong.networks import MultiHead, TwoBranchNetwork
from lifelong.strategies import Round, TicketsBU
from tests.conftest import small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01)
NONE: Any = []  # instead of a loader that is not used


def made(**options: Any) -> TicketsBU:
    torch.manual_seed(3)
    values = {"batch_size": 48, "memory": 4, "unlabeled": "exemplars"} | options
    return TicketsBU(TwoBranchNetwork(small_body(), MultiHead), SGD, **values)


def driven(method: TicketsBU, index: int, *accuracies: float, last: float = 0.9) -> list[Round]:
    """The rounds of a task whose trainings have these accuracies, and `last` when they are through.

    Weights move a little in each, as masks allow.
    """
    visit = toy_visit(index)
    method.begin_task(visit)
    rounds, given, seen = method.rounds(visit), iter(accuracies), []
    now = next(rounds)
    while True:
        seen.append(now)
        with torch.no_grad():
            for p in method.network.parameters():
                p.add_(0.02 * torch.randn_like(p))
            method.on_train_batch_end(None, visit.train[torch.arange(2)], 0)
        accuracy = next(given, last)
        try:
            now = rounds.send({"val/best": accuracy, "score": accuracy})
        except StopIteration:
            break
    method.end_task(visit, NONE)
    return seen


def prunings(rounds: list[Round]) -> int:
    return sum(now.name.startswith("pruning") for now in rounds)


def after(total: int, count: int, share: float = 0.2) -> int:
    left = total
    for _ in range(count):
        left -= round(share * left)
    return left


SMALL = ["data=digits", "epochs=3", "batch_size=64", "optimizer=adam", "lr=0.003", "logger=none"]
SMALL += ["unlabeled=exemplars"]
