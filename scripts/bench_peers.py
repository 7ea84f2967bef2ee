"""What the framework adds to a training step: ours against a bare PyTorch loop.

`python scripts/bench_peers.py [--quick] [methods] [bodies]` learns five tasks of 1,000 images of
3 x 32 x 32 with each method, here and by hand, and prints own CPU seconds of all training steps
after the first task, as a ratio: for batches of 10 and 64, images as they are and with crop and
flip, three small convolutions and the reduced ResNet. The two take turns in one process, on one
thread; the median of the pairs is printed, with the range. Importances are drawn for the bare loop:
steps are timed, not the ends of tasks. With --quick: batches of 10, the small network, one pair.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.live import Live
from rich.table import Table
from timing import note, quiet
from torch import Tensor, nn

TASKS, IMAGES, KEPT, PAIRS = 5, 1000, 200, 2
METHODS = {
    "fine-tuning": ["strategy=finetune"],
    "ER": ["strategy=er", f"strategy.memory={KEPT}"],
    "A-GEM": ["strategy=agem", "strategy.per_class=20"],
    "EWC": ["strategy=ewc", "strategy.strength=10"],
    "MAS": ["strategy=mas", "strategy.strength=1"],
}
BODIES = {
    "small": ["backbone=convnet_plasticity", "backbone.channels=[32,64,64]", "backbone.kernels=3",
              "backbone.widths=[]", "backbone.pools=[2,2,2]"],
    "ResNet": ["backbone=reduced_resnet"],
}  # fmt: skip
TARGET = "at most 1.05"
Loop = Callable[[str, str, int, bool], float]


def pixels() -> tuple[Tensor, Tensor]:
    """(n, 3, 32, 32) in bytes, and labels: two classes a task."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (TASKS * IMAGES, 3, 32, 32), dtype=np.uint8)
    return torch.from_numpy(x), torch.arange(TASKS * IMAGES) // (IMAGES // 2)


def ours(folder: Path) -> Loop:
    """Seconds of training steps of a run, of the tasks after the first."""
    from lightning import Trainer

    from lifelong import run
    from lifelong.configuration.compose import composed

    x, y = pixels()
    np.savez(folder / "images.npz", x_train=x.numpy().transpose(0, 2, 3, 1), y_train=y.numpy(),
             x_test=x[::500].numpy().transpose(0, 2, 3, 1), y_test=y[::500].numpy())  # fmt: skip
    spent: list[float] = []
    fit = Trainer.fit

    def timed(self: Trainer, *args: Any, **options: Any) -> None:
        begun = time.process_time()
        fit(self, *args, **options)
        spent.append(time.process_time() - begun)

    Trainer.fit = timed  # type: ignore[method-assign]

    def seconds(method: str, body: str, batch: int, crop: bool) -> float:
        spent.clear()
        with tempfile.TemporaryDirectory() as place:
            config = composed([
                "data=arrays", f"data.file={folder / 'images.npz'}", "data.shape=[3,32,32]",
                f"data.tasks={TASKS}", "data.validation=0", "data.standardize=none",
                "heads=multi", "optimizer=sgd", "lr=0.01", "epochs=1", f"batch_size={batch}",
                "evaluate_every=0", "trainer=cpu", "trainer.threads=1", "logger=none",
                f"augment={'crop' if crop else 'none'}", f"paths.data_dir={folder}",
                f"paths.output_dir={place}/run", *BODIES[body], *METHODS[method],
            ])  # fmt: skip
            if run.execute(config, method, "made"):
                raise SystemExit(1)
        return sum(spent[1:])

    return seconds


def network(body: str) -> tuple[nn.Module, list[nn.Linear]]:
    """A body as ours, and a head for each task."""
    from lifelong.backbones import ReducedResNet, convnet

    made: Any = ReducedResNet((3, 32, 32), width=20)
    if body == "small":
        made = convnet((3, 32, 32), [32, 64, 64], [2, 2, 2], init="kaiming")
    heads = [nn.Linear(made.features, 2) for _ in range(TASKS)]
    return made.to(memory_format=torch.channels_last), heads


def served(x: Tensor, crop: bool) -> Tensor:
    """A batch as floats in [0, 1], channels last."""
    x = x.permute(0, 2, 3, 1)
    if crop:
        whole = F.pad(x, [0, 0, 4, 4, 4, 4])
        image, row, column, _ = whole.stride()
        shape, strides = (len(x), 9, 9, 32, 96), (image, row, column, row, 1)
        top, left = torch.randint(0, 9, (2, len(x)))
        x = whole.as_strided(shape, strides)[torch.arange(len(x)), top, left].view(-1, 32, 32, 3)
        rows = (torch.rand(len(x)) < 0.5).nonzero()[:, 0]
        x[rows] = x[rows].flip(2)
    return x.float().mul_(1 / 255).permute(0, 3, 1, 2)


class Bare:
    """The methods by hand, written as one would write them to be fast.

    Args:
        method: its name.
        body: its name.
        crop: whether to crop and flip.
    """

    def __init__(self, method: str, body: str, crop: bool) -> None:
        torch.manual_seed(0)
        self.images, self.labels = pixels()
        self.net, self.heads = network(body)
        self.rehearses, self.projects = method in ("ER", "A-GEM"), method == "A-GEM"
        self.holds, self.joins = method in ("EWC", "MAS"), method == "ER" and body == "small"
        self.crop = crop
        self.held: list[list[Tensor]] = []  # weights, anchors, importances
        self.kept, self.seen = torch.zeros(KEPT, dtype=torch.long), 0

    def seconds(self, batch: int) -> float:
        """Of the steps of the tasks after the first."""
        spent = 0.0
        for task in range(TASKS):
            begun, heads = time.process_time(), self.heads if self.rehearses else [self.heads[task]]
            self.params = [
                *self.net.parameters(),
                *(p for head in heads for p in head.parameters()),
            ]
            optimizer = torch.optim.SGD(self.params, lr=0.01, foreach=True)
            for rows in (task * IMAGES + torch.randperm(IMAGES)).split(batch):
                optimizer.zero_grad()
                self.gradients(task, rows)
                optimizer.step()
            spent += (time.process_time() - begun) * (task > 0)
            if self.holds:
                own = list(self.net.parameters())
                anchors = [p.detach().clone() for p in own]
                self.held = [own, anchors, [torch.rand_like(p) for p in own]]
        return spent

    def gradients(self, task: int, rows: Tensor) -> None:
        x, y = served(self.images[rows], self.crop), self.labels[rows] - 2 * task
        filled = min(self.seen, KEPT)
        old = self.kept[:filled]
        old = old[old < task * IMAGES]  # as many as images of the task, as ours
        old = old[torch.randperm(len(old))[: len(rows)]]
        if self.rehearses:
            self.keep(rows)
        if len(old):
            self.with_memory(task, x, y, old)
        else:
            F.cross_entropy(self.heads[task](self.net(x)), y).backward()
        if self.held:
            own, anchors, sizes = self.held
            moved = torch._foreach_sub([p.detach() for p in own], anchors)
            torch._foreach_mul_(moved, sizes)
            torch._foreach_add_([p.grad for p in own], moved)  # type: ignore[misc]

    def with_memory(self, task: int, x: Tensor, y: Tensor, old: Tensor) -> None:
        ox, t, oy = served(self.images[old], self.crop), old // IMAGES, self.labels[old] % 2
        if self.joins:
            mine, theirs = self.net(torch.cat([x, ox])).split([len(x), len(ox)])
        else:
            mine, theirs = None if self.projects else self.net(x), self.net(ox)
        weight, bias = (
            torch.stack([getattr(head, name) for head in self.heads])[t]
            for name in ("weight", "bias")
        )
        loss = F.cross_entropy((weight @ theirs[:, :, None])[..., 0] + bias, oy)
        if not self.projects:
            (loss + F.cross_entropy(self.heads[task](mine), y)).backward()
            return
        reference = torch.autograd.grad(loss, self.params, allow_unused=True)
        F.cross_entropy(self.heads[task](self.net(x)), y).backward()
        project(self.params, reference)

    def keep(self, rows: Tensor) -> None:
        """A reservoir."""
        for row in rows.tolist():
            place = self.seen if self.seen < KEPT else int(torch.randint(self.seen + 1, ()))
            if place < KEPT:
                self.kept[place] = row
            self.seen += 1


def bare(method: str, body: str, batch: int, crop: bool) -> float:
    return Bare(method, body, crop).seconds(batch)


def project(params: list[Any], reference: tuple[Tensor | None, ...]) -> None:
    """The part of the gradient against the reference is taken away."""
    pairs = [(p, r) for p, r in zip(params, reference, strict=True) if r is not None]
    dot = torch.stack([(p.grad * r).sum() for p, r in pairs if p.grad is not None]).sum()
    share = dot.clamp(max=0) / torch.stack([r.square().sum() for _, r in pairs]).sum()
    for p, r in pairs:
        p.grad = -share * r if p.grad is None else p.grad.sub_(share * r)


def cells(quick: bool, bodies: Sequence[str]) -> Iterator[tuple[str, int, bool]]:
    for body in bodies or (BODIES if not quick else ("small",)):
        for batch in (10, 64) if not quick else (10,):
            for crop in (False, True):
                yield body, batch, crop


def main() -> None:
    quiet()
    quick = "--quick" in sys.argv
    words = [text for text in sys.argv[1:] if text != "--quick"]
    methods, bodies = ([text for text in words if text in of] for of in (METHODS, BODIES))
    if len(words) > len(methods) + len(bodies):
        sys.exit(f"{' '.join(words)}: give of {', '.join([*METHODS, *BODIES])}")
    table = Table("method", "body", "batch", "images", "ours, s", "bare, s", "ratio", "target 1.05")
    with tempfile.TemporaryDirectory() as folder, Live(table, console=Console(width=110)):
        here = ours(Path(folder))
        for method in methods or METHODS:
            for body, batch, crop in cells(quick, bodies):
                here(method, body, batch, crop), bare(method, body, batch, crop)
                pairs = [
                    (here(method, body, batch, crop), bare(method, body, batch, crop))
                    for _ in range(1 if quick else PAIRS)
                ]
                ratios = sorted(a / b for a, b in pairs)
                middle = statistics.median(ratios)
                table.add_row(
                    method, body, str(batch), "crop and flip" if crop else "as they are",
                    f"{min(a for a, _ in pairs):.2f}", f"{min(b for _, b in pairs):.2f}",
                    f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                    "met" if middle <= 1.05 else "missed",
                )  # fmt: skip
                images = "crop and flip" if crop else "as they are"
                note(f"{method}, {body}, batch {batch}, {images}: ours / bare", middle, TARGET)


if __name__ == "__main__":
    main()
