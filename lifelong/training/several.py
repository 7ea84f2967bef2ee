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
        and _whole(trainer.limit_train_batches)
        and _whole(trainer.val_check_interval)
        and not trainer.overfit_batches  # type: ignore[attr-defined]
        and trainer.accumulate_grad_batches == 1
        and trainer.max_steps == -1
        and not trainer.min_steps
        and world() == 1
        and not any(map(_watches_batches, trainer.callbacks))  # type: ignore[attr-defined]
    )


def _whole(share: float | int) -> bool:
    """Whether it says all of an epoch: as a whole number, 1 is a single batch."""
    return isinstance(share, float) and share == 1.0


def _watches_batches(callback: Callback) -> bool:
    own = type(callback)
    return own is not ProgressBar and any(
        getattr(own, name) is not getattr(Callback, name) for name in OF_A_BATCH
    )
