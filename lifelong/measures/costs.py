"""What a method costs: bytes kept between tasks, multiply-adds, peak memory."""

from __future__ import annotations

import copy
import resource
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lifelong.data import Batch, Fed, Images, Task, Visit
from lifelong.data.generators import undisturbed
from lifelong.measures.counter import counted

# Attributes that are no memory of tasks: a module's own, the best epoch's weights, a table.
NOT_KEPT = ("_parameters", "_buffers", "_modules", "best", "_table")
Learner = Any  # a `lifelong.Strategy`, which stands above this room


def kept_bytes(strategy: Learner) -> dict[str, int]:
    """Bytes that are kept from one task to the next: modules, buffers, the images of memories.

    Returns:
        By what they are for: `network`; each other part of the strategy by its name, such as
        `memory`, `anchor` (importances and the weights to hold to), `teacher`, `masks`; `buffers`
        that are the strategy's own; `copies` of weights, such as the start of a ticket; `images`
        that are kept beside memories (`Strategy.kept_images`, or what it holds of tasks);
        `optimizer`, where it lives as long as the stream; `total`.
    """
    found = {name: bytes_of(part) for name, part in strategy.named_children()}
    own = [*strategy.parameters(recurse=False), *strategy.buffers(recurse=False)]
    found["buffers"] = sum(value.nbytes for value in own)
    aside = list(_aside(strategy))
    told = strategy.kept_images()
    images = [part for value in aside for part in _images_of(value)] if told is None else told
    pixels = {id(part.x): part.x.nbytes for part in images}
    found |= {"copies": _tensors(aside), "images": sum(pixels.values())}
    if strategy.lifetime == "stream":
        states = strategy.optimizer_state().values()
        found["optimizer"] = sum(
            value.nbytes for state in states for value in state.values() if torch.is_tensor(value)
        )
    found = {name: size for name, size in found.items() if size}
    return found | {"total": sum(found.values())}


def _aside(module: nn.Module) -> Iterator[Any]:
    """Tensors, images and tasks that a module holds in plain attributes."""
    for name, values in vars(module).items():
        if name not in NOT_KEPT:
            yield from _inside(values)


def _inside(values: Any, depth: int = 8) -> Iterator[Any]:
    """What dicts and lists hold, at such a depth; and a tensor itself, unless it is a number."""
    if depth and isinstance(values, Mapping):
        yield from _inside(list(values.values()), depth - 1)
    elif isinstance(values, Images | Task | Visit) or (torch.is_tensor(values) and values.dim()):
        yield values
    elif depth and isinstance(values, list | tuple):
        for value in values:
            yield from _inside(value, depth - 1)


def _images_of(value: Any) -> list[Images]:
    if isinstance(value, Visit):
        return [part for task in value.tasks for part in _images_of(task)]
    if isinstance(value, Task):
        return [value.train, value.val]
    return [value] if isinstance(value, Images) else []


def _tensors(values: Iterable[Any]) -> int:
    """Bytes of the tensors among some values, of each once; parameters are counted elsewhere."""
    return sum({v.data_ptr(): v.nbytes for v in values if type(v) is Tensor}.values())


def bytes_of(module: nn.Module) -> int:
    """Of its parameters, buffers and other tensors; a module with `nbytes` says itself."""
    told = getattr(module, "nbytes", None)
    if isinstance(told, int):
        return told
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    more = _tensors(_aside(module)) + sum(map(bytes_of, module.children()))
    return sum(v.nbytes for v in own) + more


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
