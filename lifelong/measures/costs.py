"""What a method costs: bytes kept between tasks, multiply-adds, peak memory."""

from __future__ import annotations

import copy
import resource
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lifelong.data import Batch, Fed, Images, Task
from lifelong.data.generators import undisturbed
from lifelong.measures.counter import counted

Learner = Any  # a `lifelong.Strategy`, which stands above this room


def kept_bytes(strategy: Learner) -> dict[str, int]:
    """Bytes that are kept from one task to the next: modules, buffers, the images of memories.

    Returns:
        By what they are for: `network`; each other part of the strategy by its name, such as
        `memory`, `anchor` (importances and the weights to hold to), `teacher`, `masks`; `buffers`
        that are the strategy's own; `copies` of weights, such as the start of a ticket; `images`
        of earlier tasks; `optimizer`, where it lives as long as the stream; `total`.
    """
    found = {name: bytes_of(part) for name, part in strategy.named_children()}
    own = [*strategy.parameters(recurse=False), *strategy.buffers(recurse=False)]
    found["buffers"] = sum(value.nbytes for value in own)
    aside = [
        value
        for name, values in vars(strategy).items()
        if name not in ("_parameters", "_buffers", "_modules", "best")  # of a task's epochs
        for value in _inside(values)
    ]
    copies = {v.data_ptr(): v.nbytes for v in aside if type(v) is Tensor}
    tasks = [part for task in aside if isinstance(task, Task) for part in (task.train, task.val)]
    found |= {"copies": sum(copies.values()), "images": sum(part.x.nbytes for part in tasks)}
    if strategy.lifetime == "stream":
        states = strategy.optimizer_state().values()
        found["optimizer"] = sum(
            value.nbytes for state in states for value in state.values() if torch.is_tensor(value)
        )
    found = {name: size for name, size in found.items() if size}
    return found | {"total": sum(found.values())}


def _inside(values: Any) -> Iterator[Any]:
    """What dicts hold, at any depth; and a tensor itself, unless it is a number."""
    if isinstance(values, dict):
        for value in values.values():
            yield from _inside(value)
    elif isinstance(values, Task) or (torch.is_tensor(values) and values.dim()):
        yield values


def bytes_of(module: nn.Module) -> int:
    """Of its parameters and buffers; a module with `nbytes` says itself what it keeps."""
    told = getattr(module, "nbytes", None)
    if isinstance(told, int):
        return told
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return sum(v.nbytes for v in own) + sum(bytes_of(child) for child in module.children())


def multiply_adds(
    strategy: Learner, batch: Batch | Fed, shared: Iterable[Images] = ()
) -> dict[str, int]:
    """Multiply-adds of matrix products and convolutions, counted by PyTorch on a copy.

    Args:
        strategy: while it learns a task; it stays as it is.
        batch: of the training, on the device of the strategy.
        shared: images that the copy has in common with the strategy.

    Returns:
        `training_step`: loss and backward pass of the batch, without what a method does apart from
        its loss, such as the step of DARTS' selectors; `answer`: one image, the task given.
    """
    trainer, strategy._trainer = strategy._trainer, None  # which is not to be copied
    try:
        other = copy.deepcopy(strategy, {id(images): images for images in shared})
    finally:
        strategy._trainer = trainer
    whole = batch if isinstance(batch, Fed) else Fed(batch, {})
    with undisturbed(), strategy.uncompiled():
        other.train()
        with torch.enable_grad(), counted() as step:
            other.training_loss(whole.batch, **whole.feeds).backward()
        other.eval()
        with torch.no_grad(), counted() as answer:
            other.predict(whole.batch.x[:1], whole.batch.t[:1])
    passes = 1 if strategy.flatness is None else strategy.flatness.passes
    return {
        "training_step": step.get_total_flops() // 2 * passes,
        "answer": answer.get_total_flops() // 2,
    }


def begin_costs(device: torch.device) -> None:
    """From now on a GPU's peak memory is that of this run; the process's is of its whole life."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Most bytes that the process has had at a time, and on a GPU since `begin_costs`."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"process": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.max_memory_allocated(device)
    return found
