"""When a Trainer takes several batches as one: its hooks cost as much as a small network."""

from __future__ import annotations

from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from lifelong.networks.divided import world
from lifelong.strategies import Strategy
from lifelong.training.terminal import ProgressBar

OF_A_BATCH = (
    "on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward",
    "on_after_backward", "on_before_optimizer_step",
)  # fmt: skip


def takes_several(trainer: Trainer, strategy: Strategy) -> bool:
    """Whether nobody looks at single batches: the method, a callback, an option of the Trainer."""
    return (
        strategy.takes_several
        and str(trainer.precision).endswith("-true")
        and trainer.gradient_clip_val is None
        and trainer.limit_train_batches == trainer.val_check_interval == 1.0
        and not trainer.overfit_batches  # type: ignore[attr-defined]
        and trainer.max_steps == -1
        and world() == 1
        and not any(map(_watches_batches, trainer.callbacks))  # type: ignore[attr-defined]
    )


def _watches_batches(callback: Callback) -> bool:
    own = type(callback)
    return own is not ProgressBar and any(
        getattr(own, name) is not getattr(Callback, name) for name in OF_A_BATCH
    )
