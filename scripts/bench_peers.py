"""What the framework adds to a training step: ours against the same method as a bare PyTorch loop.

`python scripts/bench_peers.py [methods]` learns five tasks of 1,000 images of 3 x 32 x 32 with each
method, here and by hand, and prints own CPU seconds of all training steps after the first task, as
a ratio: for batches of 10 and 64, images as they are and with crop and flip, three small
convolutions and the reduced ResNet. The two take turns in one process, on one thread; the median
of the pairs is printed, with the range. Where Avalanche is installed (`avalanche-lib`), its
fine-tuning and replay are measured as well; it is no dependency.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.live import Live
from rich.table import Table
from timing import quiet
from torch import Tensor, nn

TASKS, IMAGES, KEPT, PAIRS = 5, 1000, 200, 1
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

    made = (
        convnet((3, 32, 32), [32, 64, 64], [2, 2, 2], init="kaiming")
        if body == "small" else ReducedResNet((3, 32, 32), width=20)
    )  # fmt: skip
    return made.to(memory_format=torch.channels_last), [
        nn.Linear(made.features, 2) for _ in range(TASKS)
    ]


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


def bare(method: str, body: str, batch: int, crop: bool) -> float:
    """The same by hand, written as one would write it to be fast."""
    torch.manual_seed(0)
    images, labels = pixels()
    net, heads = network(body)
    has_norm = body == "ResNet"
    held: list[tuple[nn.Parameter, Tensor, Tensor]] = []
    kept = torch.zeros(KEPT, dtype=torch.long)
    filled = seen = 0
    spent = 0.0
    for task in range(TASKS):
        first, begun = task * IMAGES, time.process_time()
        params = [*net.parameters(), *heads[task].parameters()]
        if method in ("ER", "A-GEM"):
            params = [*net.parameters(), *(p for head in heads for p in head.parameters())]
        optimizer = torch.optim.SGD(params, lr=0.01, foreach=True)
        for rows in (first + torch.randperm(IMAGES)).split(batch):
            x, y = served(images[rows], crop), labels[rows] - 2 * task
            old = kept[:filled][torch.randperm(filled)[: len(rows)]]
            old = old[old < first]
            optimizer.zero_grad()
            if method in ("ER", "A-GEM") and len(old):
                ox, t, oy = served(images[old], crop), old // IMAGES, labels[old] % 2
                weight = torch.stack([head.weight for head in heads])[t]
                bias = torch.stack([head.bias for head in heads])[t]
                if method == "ER" and not has_norm:
                    features = net(torch.cat([x, ox]))
                    fx, fo = features[: len(x)], features[len(x) :]
                else:
                    fx = None if method == "A-GEM" else net(x)
                    fo = net(ox)
                loss = F.cross_entropy((weight @ fo[:, :, None])[..., 0] + bias, oy)
                if method == "ER":
                    (loss + F.cross_entropy(heads[task](fx), y)).backward()
                else:
                    reference = torch.autograd.grad(loss, params, allow_unused=True)
                    F.cross_entropy(heads[task](net(x)), y).backward()
                    project(params, reference)
            else:
                F.cross_entropy(heads[task](net(x)), y).backward()
            if held:
                moved = torch._foreach_sub([p for p, _, _ in held], [a for _, a, _ in held])
                torch._foreach_mul_(moved, [f for _, _, f in held])
                torch._foreach_add_([p.grad for p, _, _ in held], moved, alpha=1.0)
            optimizer.step()
            for row in rows.tolist() if method in ("ER", "A-GEM") else ():
                place = filled if filled < KEPT else int(torch.randint(seen + 1, ()))
                if place < KEPT:
                    kept[place], filled = row, min(max(filled, place + 1), KEPT)
                seen += 1
        if task:
            spent += time.process_time() - begun
        if method in ("EWC", "MAS"):
            held = [(p, p.detach().clone(), torch.rand_like(p)) for p in net.parameters()]
    return spent


def project(params: list[Any], reference: tuple[Tensor | None, ...]) -> None:
    """The part of the gradient against the reference is taken away."""
    pairs = [(p, r) for p, r in zip(params, reference, strict=True) if r is not None]
    dot = torch.stack([(p.grad * r).sum() for p, r in pairs if p.grad is not None]).sum()
    share = dot.clamp(max=0) / torch.stack([r.square().sum() for _, r in pairs]).sum()
    for p, r in pairs:
        p.grad = -share * r if p.grad is None else p.grad.sub_(share * r)


def cells() -> Iterator[tuple[str, int, bool]]:
    for body in BODIES:
        for batch in (10, 64):
            for crop in (False, True):
                yield body, batch, crop


def main() -> None:
    quiet()
    table = Table("method", "body", "batch", "images", "ours, s", "bare, s", "ratio", "target 1.05")
    with tempfile.TemporaryDirectory() as folder, Live(table, console=Console(width=110)):
        here = ours(Path(folder))
        for method in sys.argv[1:] or METHODS:
            for body, batch, crop in cells():
                here(method, body, batch, crop), bare(method, body, batch, crop)
                pairs = [
                    (here(method, body, batch, crop), bare(method, body, batch, crop))
                    for _ in range(PAIRS)
                ]
                ratios = sorted(a / b for a, b in pairs)
                middle = statistics.median(ratios)
                table.add_row(
                    method, body, str(batch), "crop and flip" if crop else "as they are",
                    f"{min(a for a, _ in pairs):.2f}", f"{min(b for _, b in pairs):.2f}",
                    f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                    "met" if middle <= 1.05 else "missed",
                )  # fmt: skip
    if importlib.util.find_spec("avalanche") is None:
        print("avalanche-lib is not installed: no peer was measured")


if __name__ == "__main__":
    main()
