"""Several batches that pass a Trainer as one are learned as if they came one by one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from lifelong.data import Batch, Visit, by_class, stream
from lifelong.data.sources import digits
from lifelong.networks import MultiHead, Network
from lifelong.strategies import EWC, Round, Strategy
from lifelong.strategies.learner import Learner
from lifelong.strategies.strategy import Rounds
from lifelong.training.several import takes_several
from tests.conftest import execute, results_of, small_body, state_of
from tests.test_contract import FAST, alike, chosen

SGD = partial(torch.optim.SGD, lr=0.1)
# Hooks of steps, memories, feeds, rounds, penalties, searches; dropout and augmentation.
METHODS = [
    "finetune", "agem", "er_ace", "gem", "ewc", "si", "lwf", "cbp", "den",
    "tickets_td", "lasem_hps heads.dropout=0.3", "derpp augment=flip", "wsn", "hat", "darts_hps",
    "finetune optimizer=tag_adam", "mas flatness=sam", "mas strategy.penalty=proximal",
    "gdumb strategy.cutmix=1 trainer.precision=64-true", "er trainer.precision=bf16-true",
]  # fmt: skip


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches came at a time."""
    sizes: list[int] = []
    start = Learner.on_train_batch_start

    def noted(self: Learner, batch: Any, batch_idx: int) -> None:
        sizes.append(len(batch) if isinstance(batch, list) else 1)
        start(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "on_train_batch_start", noted)
    monkeypatch.setattr("lifelong.strategies.learner.OF_A_BATCH", ("training_step",))
    return sizes


@pytest.mark.parametrize("strategy", METHODS)
def test_the_same_to_the_last_bit(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*FAST, "tasks=2", "epochs=2", "batch_size=8", *chosen(strategy)]
    assert execute(tmp_path / "several", *options) == 0
    monkeypatch.setattr(stream, "MOST_AT_A_TIME", 1)
    assert execute(tmp_path / "single", *options) == 0
    assert alike(state_of(tmp_path / "several"), state_of(tmp_path / "single"))
    one, other = (results_of(tmp_path / name) for name in ("several", "single"))
    assert one == other


def test_as_many_as_are_small_together(tmp_path: Path, lists: list[int]) -> None:
    options = [*FAST, "strategy=finetune", "tasks=1", "epochs=2"]
    assert execute(tmp_path / "small", *options, "batch_size=2") == 0
    assert max(lists) == stream.MOST_AT_A_TIME
    assert 1 <= min(lists) < max(lists)  # the last of an epoch
    steps = sum(lists)
    lists.clear()
    assert execute(tmp_path / "asked", *options, "batch_size=2", "evaluate_every_steps=5") == 0
    assert (max(lists), sum(lists)) == (1, steps)


def test_large_batches_come_one_by_one(
    tmp_path: Path, lists: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SMALL", 4 * 4 * 64 * 2)  # two batches of four 8 x 8 images
    options = [*FAST, "strategy=finetune", "tasks=1", "epochs=1"]
    assert execute(tmp_path / "two", *options, "batch_size=4") == 0
    assert max(lists) == 2
    lists.clear()
    assert execute(tmp_path / "one", *options, "batch_size=8") == 0
    assert max(lists) == 1


LOGGED: dict[str, float] = {}


class Logs(Strategy):
    def training_loss(self, batch: Batch) -> torch.Tensor:  # type: ignore[override]
        loss = super().training_loss(batch)
        self.log("mean", loss.detach(), on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        LOGGED["steps"] = LOGGED.get("steps", 0) + self.epoch_steps

    def rounds(self, visit: Visit) -> Rounds:
        LOGGED["mean"] = (yield Round())["mean"]


def test_what_a_method_logs_is_of_every_batch_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*FAST, "strategy=finetune", f"strategy._target_={__name__}.Logs"]
    options += ["tasks=1", "epochs=1", "batch_size=7"]
    found = []
    for most in (16, 1):
        LOGGED.clear()
        monkeypatch.setattr(stream, "MOST_AT_A_TIME", most)
        assert execute(tmp_path / str(most), *options) == 0
        found.append(dict(LOGGED))
    assert found[0]["steps"] > 5
    assert found[0] == pytest.approx(found[1])


def test_batches_of_a_list_lie_in_memory_of_their_own() -> None:
    """A part of a larger tensor may lie where matrix products round otherwise."""
    made = by_class(digits(), shape=(1, 8, 8), tasks=5, batch_size=3)
    made.several = True
    for batches in made.train_dataloader():
        assert isinstance(batches, list)
        assert all(b.x.untyped_storage().nbytes() == b.x.nbytes for b in batches)


class ConfiguresCallbacks(Strategy):
    def configure_callbacks(self) -> Any:
        return [CountsBatches()]


class WatchesBatches(EWC):
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)


class ChangesGradients(Strategy):
    def on_before_optimizer_step(self, optimizer: Any) -> None:
        pass


class CountsBatches(Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        pass


def method(kind: type[Strategy]) -> Strategy:
    return kind(Network(small_body(), MultiHead), SGD)


def trainer(**options: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", max_epochs=1, **quiet, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_clip_val": 1.0}, {"precision": "bf16-mixed"}, {"limit_train_batches": 3},
        {"max_steps": 7}, {"val_check_interval": 0.5}, {"callbacks": [CountsBatches()]},
        {"overfit_batches": 2}, {"limit_train_batches": 1}, {"val_check_interval": 1},
        {"min_steps": 3}, {"accumulate_grad_batches": 2}, {"fast_dev_run": True},
    ],
)  # fmt: skip
def test_who_looks_at_batches_is_handed_single_ones(options: dict[str, Any]) -> None:
    assert takes_several(trainer(), method(Strategy))
    assert takes_several(trainer(callbacks=[Callback()]), method(ChangesGradients))
    assert not takes_several(trainer(**options), method(Strategy))
    assert not takes_several(trainer(), method(WatchesBatches))
    assert not takes_several(trainer(), method(ConfiguresCallbacks))
