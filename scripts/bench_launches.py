"""What a training step asks of a GPU, counted without one.

`python scripts/bench_launches.py [strategies]` trains each strategy on two tasks of digits on a
pretended device (tests/pretended.py) and prints, of the second task: kernels launched a step, and
copies to the device and waits for it an epoch. A wait is whatever makes Python stand still until
the device has come so far. All are differences between three and two epochs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from timing import note

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DEFAULT = [
    "finetune", "er", "agem", "ewc", "mas", "si", "lwf", "hps", "lasem_hps",
    "finetune optimizer=tag_rmsprop", "finetune optimizer=adam", "finetune optimizer=rmsprop_tf",
]  # fmt: skip
OPTIONS = [
    "data=digits",
    "tasks=2",
    "batch_size=32",
    "logger=none",
    "evaluate_every=0",
    "heads=multi",
]


def counted(strategy: str, epochs: int) -> tuple[Counter[str], int]:
    """What the training of the second task asks for, and its steps."""
    from lifelong.training.experiment import Experiment
    from tests.conftest import execute
    from tests.pretended import OPTIONS as THERE
    from tests.pretended import Device

    counts: list[Counter[str]] = []
    steps: list[int] = []
    fit = Experiment._fit

    def fitted(self: Experiment, *args: Any, **options: Any) -> Any:
        before, begun = device.counts.copy(), self.strategy.steps_trained
        found = fit(self, *args, **options)
        counts.append(device.counts - before)
        steps.append(self.strategy.steps_trained - begun)
        return found

    Experiment._fit = fitted  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder, Device() as device:
            given = [*OPTIONS, f"epochs={epochs}", *f"strategy={strategy}".split(), *THERE]
            if execute(Path(folder) / "run", *given):
                sys.exit(f"{strategy}: the run failed")
    finally:
        Experiment._fit = fit  # type: ignore[method-assign]
    return counts[-1], steps[-1]


def main() -> None:
    os.environ["LIFELONG_QUIET"] = "1"
    table = Table(
        "strategy", "steps an epoch", "launches a step", "copies an epoch", "waits an epoch"
    )
    for strategy in sys.argv[1:] or DEFAULT:
        (fewer, some), (more, others) = (counted(strategy, epochs) for epochs in (2, 3))
        of_epoch, steps = more - fewer, others - some
        if not steps:  # its epochs are of another kind
            table.add_row(strategy, "0", "-", str(of_epoch["copies"]), str(of_epoch["waits"]))
            continue
        launches = f"{of_epoch['launches'] / steps:.0f}"
        table.add_row(
            strategy, str(steps), launches, str(of_epoch["copies"]), str(of_epoch["waits"])
        )
        note(f"{strategy}, launches a step", of_epoch["launches"] / steps)
        note(f"{strategy}, copies an epoch", of_epoch["copies"])
    Console().print(table)


if __name__ == "__main__":
    main()
