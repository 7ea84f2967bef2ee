"""How long a training step takes on a GPU, as it comes and recorded (`trainer.cuda_graphs=true`).

`python scripts/bench_device.py [strategies]` trains each strategy on two tasks of digits and prints
milliseconds a step of the second task's last five epochs, and, of a step that is computed as it
comes, how long Python is busy with the optimizer's update. With `TRAINER=cpu` it is tried without a
GPU: nothing is recorded then.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DEFAULT = [
    "finetune", "er", "agem", "ewc", "mas", "hps transfer=all", "lasem_hps",
    "finetune optimizer=tag_rmsprop", "finetune optimizer=adam",
]  # fmt: skip
OPTIONS = [
    "data=digits",
    "backbone=conv4",
    "heads=multi",
    "tasks=2",
    "epochs=12",
    "batch_size=10",
    "logger=none",
    "evaluate_every=0",
]


def milliseconds(strategy: str, trainer: str, *given: str) -> tuple[float, float]:
    """Of a step of the last epochs, and of the update in it; NaN for a run that is refused."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from lifelong.strategies.learner import Learner
    from tests.conftest import execute

    steps, ends, update = [0], [0.0], [0.0]

    def stop() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def ended(self: Learner) -> None:
        end(self)
        if self.steps_trained > steps[-1]:
            steps.append(self.steps_trained)
            ends.append(stop())
            spent.append(update[0])

    def before(self: Learner) -> None:
        backward(self)
        update[0] -= time.perf_counter()

    def after(*_: Any) -> None:
        update[0] += time.perf_counter()

    spent = [0.0]
    end, backward = Learner.on_train_epoch_end, Learner.on_after_backward
    Learner.on_train_epoch_end = ended  # type: ignore[method-assign]
    Learner.on_after_backward = before  # type: ignore[method-assign]
    hook = register_optimizer_step_post_hook(after)
    try:
        with tempfile.TemporaryDirectory() as folder:
            options = [*OPTIONS, f"trainer={trainer}", *f"strategy={strategy}".split(), *given]
            if execute(Path(folder) / "run", *options):
                return float("nan"), float("nan")
    finally:
        Learner.on_train_epoch_end = end  # type: ignore[method-assign]
        Learner.on_after_backward = backward  # type: ignore[method-assign]
        hook.remove()
    done = steps[-1] - steps[-6]
    return 1e3 * (ends[-1] - ends[-6]) / done, 1e3 * (spent[-1] - spent[-6]) / done


def main() -> None:
    os.environ["LIFELONG_QUIET"] = "1"
    trainer = os.environ.get("TRAINER", "gpu")
    recorded = ["trainer.cuda_graphs=true"] if trainer == "gpu" else []
    table = Table("strategy", "ms a step", "of it the update", "recorded", "ratio")
    for strategy in sys.argv[1:] or DEFAULT:
        usual, quick = (milliseconds(strategy, trainer, *given) for given in ([], recorded))
        row = [f"{figure:.2f}" for figure in (*usual, quick[0], usual[0] / quick[0])]
        table.add_row(strategy, *row)
        Console(stderr=True).print(strategy, *row)
    Console().print(table)


if __name__ == "__main__":
    main()
