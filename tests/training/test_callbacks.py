from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lifelong.strategies import Strategy
from lifelong.training.callbacks import Validation, changing
from lifelong.transfer import top
from tests.conftest import toy_visit, transfer_network


def test_the_earliest_best_epoch_is_kept() -> None:
    """Check 22: of equal validation accuracies the first counts."""
    strategy = Strategy(transfer_network(top), torch.optim.SGD)
    strategy.begin_task(toy_visit())
    validation = Validation(first_epoch=0, best=None, curve={})
    weight = next(p for p in strategy.parameters() if p.requires_grad)
    for epoch, accuracy in enumerate([0.2, 0.6, 0.6, 0.4]):
        with torch.no_grad():
            weight.fill_(epoch)
        strategy.tallies = {"task": SimpleNamespace(mean=lambda value=accuracy: value)}
        trainer: Any = SimpleNamespace(current_epoch=epoch)
        validation.on_validation_start(trainer, strategy)
        validation.on_validation_end(trainer, strategy)
    assert validation.best is not None
    assert validation.best["epoch"] == 1
    assert validation.best["accuracy"] == pytest.approx(0.6)
    [name] = [name for name, value in changing(strategy).items() if value is weight]
    assert (validation.best["tensors"][name] == 1).all()
    assert validation.curve["accuracy"] == pytest.approx([0.2, 0.6, 0.6, 0.4])
