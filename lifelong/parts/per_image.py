"""Gradients of single images, computed for many images at once: means of their sizes.

Where a parameter is used once, as the weight or bias of a convolution, a linear map or a norm, as a
summand or factor, its gradients come from one backward pass, see `lifelong.parts.layer_calls`. All
others are differentiated vectorised over the images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from lifelong.data import Batch
from lifelong.networks import TaskNetwork
from lifelong.parts.layer_calls import Call, LayerTracer, Named, Size

Objective = Callable[[Tensor, Tensor], Tensor]  # scores (b, k), labels (b,) -> (b,)
CHUNK = 25  # images whose gradients are held at once where they are differentiated one by one


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    """Of each image, (b,)."""
    return F.cross_entropy(scores, y, reduction="none")


def squared_norm(scores: Tensor, y: Tensor) -> Tensor:
    """Of each image's scores, (b,); labels do not matter."""
    return scores.square().sum(1)


def absolute_sum(scores: Tensor, y: Tensor) -> Tensor:
    """Of each image's scores, (b,); labels do not matter."""
    return scores.abs().sum(1)


def single_score(label: int, scores: Tensor, y: Tensor) -> Tensor:
    """Each image's score of one label, (b,); 0 where its task has no such label."""
    return scores[:, label] if label < scores.shape[1] else 0 * scores[:, 0]


def to_dtype_of(batches: Iterable[Batch], named: Named) -> Iterator[Batch]:
    """The batches in the precision of the parameters, of several that of the most numbers."""
    sizes = Counter({torch.get_default_dtype(): 0})
    for p in named.values():
        sizes[p.dtype] += p.numel()
    dtype = sizes.most_common(1)[0][0]
    for batch in batches:
        yield batch._replace(x=batch.x.to(dtype))


def by_task(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches, those of several tasks cut into one for each."""
    for batch in batches:
        tasks = batch.t.unique().tolist()
        if len(tasks) == 1:
            yield batch
            continue
        for task in tasks:
            rows = torch.nonzero(batch.t == task)[:, 0]
            here = rows.to(batch.y.device)
            yield Batch(batch.x[here], batch.y[here], batch.t[rows])


def image_mean(
    network: TaskNetwork,
    batches: Iterable[Batch],
    named: Named,
    objective: Objective,
    size: Size = "absolute",
) -> dict[str, Tensor]:
    """Mean over images of the absolute or squared gradient of each image's objective.

    The result does not depend on how the images are batched. The network must be in evaluation
    mode, so that batch-norm does not mix images.

    Args:
        network: gives the class scores.
        batches: of one task or of several.
        named: parameters by their names in the network.
        objective: what is differentiated.
        size: of a gradient's entries.

    Returns:
        A tensor of the shape of each parameter, by name.

    Raises:
        ValueError: the network has an operation that cannot be differentiated image by image.
    """
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    count, few = 0, _Few(network, named)
    for batch in by_task(to_dtype_of(batches, named)):
        task = int(batch.t[0])
        with torch.enable_grad(), LayerTracer(named) as calls:
            total = objective(network.logits(batch.x, task), batch.y).sum()
        once = few.used_once(calls, batch)
        rest = {name: p for name, p in named.items() if name not in calls.covered(once)}
        wanted = [*(call.z for call in once), *rest.values()]
        found = torch.autograd.grad(total, wanted, allow_unused=True) if wanted else ()
        for call, delta in zip(once, found, strict=False):
            if delta is not None:
                call.add(totals, delta.detach(), size)
        used = zip(rest.items(), found[len(once) :], strict=True)
        rest = {name: p for (name, p), gradient in used if gradient is not None}
        if rest:  # not the heads of other tasks
            _differentiate(network, batch, task, rest, objective, size, totals)
        count += len(batch.y)
    return {name: total / max(count, 1) for name, total in totals.items()}


def local_mean(network: TaskNetwork, batches: Iterable[Batch], named: Named) -> dict[str, Tensor]:
    """Mean over images of |y u^T| for every layer y = relu(W u): its own importance (local MAS).

    The sum over positions of a convolution is taken before the absolute value. Half the gradient
    of the squared norm of the layer's output.

    Raises:
        ValueError: a parameter that is no weight or bias of a layer used once.
    """
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    count, few = 0, _Few(network, named)
    for batch in by_task(to_dtype_of(batches, named)):
        with torch.no_grad(), LayerTracer(named) as calls:
            network.logits(batch.x, int(batch.t[0]))
        once = [call for call in few.used_once(calls, batch) if call.is_layer]
        for call in once:
            call.add(totals, F.relu(call.z), "absolute")
        missing = named.keys() - calls.covered(once)
        if missing:
            raise ValueError(
                f"strategy.importance.scope=local: {min(missing)} is no weight of a layer that is "
                "used once; give global, or a backbone of plain layers"
            )
        count += len(batch.y)
    return {name: total / max(count, 1) for name, total in totals.items()}


def batch_mean(
    network: TaskNetwork, batches: Iterable[Batch], named: Named, objective: Objective
) -> dict[str, Tensor]:
    """Mean over batches of |gradient of the batch's mean objective|: less than `image_mean`."""
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    count = 0
    for batch in to_dtype_of(batches, named):
        with torch.enable_grad():
            mean = objective(network(batch.x, batch.t), batch.y).mean()
        gradients = torch.autograd.grad(mean, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                totals[name] += gradient.abs()
        count += 1
    return {name: total / max(count, 1) for name, total in totals.items()}


class _Few:
    """Traces of a network asked about few images: which shapes change with their number."""

    def __init__(self, network: TaskNetwork, named: Named) -> None:
        self.network, self.named = network, named
        self.known: dict[tuple[int, int], LayerTracer] = {}

    def used_once(self, calls: LayerTracer, batch: Batch) -> list[Call]:
        """The calls of a batch of one task that tell images apart, see `LayerTracer.used_once`."""
        images, task = len(batch.y), int(batch.t[0])
        fewer = 2 if images != 2 else 3
        if (task, fewer) not in self.known:
            rows = torch.arange(fewer, device=batch.x.device) % images
            with torch.no_grad(), LayerTracer(self.named) as few:
                self.network.logits(batch.x[rows], task)
            self.known[task, fewer] = few
        return calls.used_once(self.known[task, fewer], images, fewer)


def _differentiate(
    network: TaskNetwork,
    batch: Batch,
    task: int,
    named: Named,
    objective: Objective,
    size: Size,
    totals: dict[str, Tensor],
) -> None:
    """Adds the sizes of the gradients in `named`, by vectorised differentiation."""
    values = {name: p.detach() for name, p in named.items()}

    def of_image(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        inside = {f"network.{name}": value for name, value in values.items()}
        scores = functional_call(_Logits(network), inside, (x[None], task))
        return objective(scores, y[None])[0]

    of_images = vmap(grad(of_image), in_dims=(None, 0, 0), chunk_size=CHUNK)
    try:
        with sdpa_kernel(SDPBackend.MATH):  # the attention that can be vectorised
            found = of_images(values, batch.x, batch.y)
    except RuntimeError as error:  # an operation that PyTorch cannot vectorise
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"strategy.importance.estimator=exact: gradients of single images cannot be taken in "
            f"{min(named)} ({reason}); give batched, or another backbone"
        ) from None
    for name, gradients in found.items():
        sizes = gradients.detach()
        resized = sizes.abs() if size == "absolute" else sizes.square()
        totals[name] += resized.sum(0)


class _Logits(nn.Module):
    """The scores under one task as a module's call."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.network.logits(x, task)
