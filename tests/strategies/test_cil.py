"""Dense class-incremental learning (Tickets spec, 1.6, 3.1 and 11.8 to 11.11)."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lifelong.data import Images, Visit
from lifelong.data.transforms import RandomCrop
from lifelong.networks import MultiHead, SingleHead, TwoBranchNetwork
from lifelong.parts.distillation import distillation
from lifelong.strategies import CIL
from tests.conftest import execute, results_of, small_body, toy_task, toy_visit

SGD = partial(torch.optim.SGD, lr=0.05)
NONE: Any = []  # instead of a loader that is not used


def made(**options: Any) -> CIL:
    torch.manual_seed(3)
    values = {"batch_size": 48, "memory": 4, "unlabeled": "exemplars"} | options
    return CIL(TwoBranchNetwork(small_body(), MultiHead), SGD, **values)


def learned(method: CIL, count: int, last: bool = False) -> list[Visit]:
    """So many visits, all but the last one closed; the last one's round begun."""
    tasks = [toy_visit(index, last=last and index == count - 1) for index in range(count)]
    for visit in tasks:
        method.begin_task(visit)
        for now in method.rounds(visit):
            if callable(now.train):
                now.train()
        if visit is not tasks[-1]:
            with torch.no_grad():
                for p in method.network.parameters():
                    p.add_(0.05 * torch.randn_like(p))
            method.end_task(visit, NONE)
    return tasks


def feeds(method: CIL, visit: Visit) -> dict[str, Images]:
    """The images of a round's feeds."""
    (now,) = method.rounds(visit)
    found = {name: feed.images for name, feed in now.feeds.items()}
    return {name: made() if callable(made) else made for name, made in found.items()}


def test_a_step_by_hand() -> None:
    """All five terms and their weights, in double precision."""
    method = made()
    tasks = learned(method, 3)
    method.double()
    network, k = method.network, 2
    taught = method.taught.now
    assert taught["main"].shape[1] == 6  # the old classes alone
    for name in ("auxiliary", "main"):
        taught[name] = taught[name].double()
    quarter, shares = 48 // 4, method._shares()
    assert shares == (quarter // 3, quarter * 2 // 3)
    served = feeds(method, tasks[2])
    assert set(served) == {"new", "old", "taught"}
    for images in served.values():
        images.scale, images.shift = images.scale.double(), images.shift.double()
        images.x = images.x.double()
        images.dtype = torch.double
    mixed = Images.joined([served["new"], served["old"]])[torch.arange(18, 30)]
    assert set(mixed.t.tolist()) == {0, 2}
    drawn = {name: images[torch.randperm(len(images))[:7]] for name, images in served.items()}

    def scores(branch: Any, x: Tensor, count: int) -> Tensor:
        features = network.body(x)
        return torch.cat([branch(features, task) for task in range(count)], 1)

    def error(branch: Any, batch: Any) -> Tensor:
        return F.cross_entropy(scores(branch, batch.x, 3), 3 * batch.t + batch.y)

    views, rows = drawn["taught"].x, drawn["taught"].row
    expected = error(network.auxiliary, mixed)
    expected = expected + 4 * distillation(
        scores(network.auxiliary, views, 2), taught["auxiliary"][rows], 2.0
    )
    balanced = shares[0] / quarter * error(network.heads, drawn["new"])
    balanced = balanced + shares[1] / quarter * error(network.heads, drawn["old"])
    balanced = balanced + 4 * distillation(
        scores(network.heads, views, 2), taught["main"][rows], 2.0
    )
    torch.testing.assert_close(method.training_loss(mixed, **drawn), expected + 0.5 * balanced)
    assert k == len(method._earlier)


def test_the_first_task_trains_both_branches_alike() -> None:
    method = made()
    (visit,) = learned(method, 1)
    batch = visit.train[torch.arange(12)]
    features = method.network.body(batch.x)
    expected = F.cross_entropy(method.network.heads(features, 0), batch.y)
    expected = expected + F.cross_entropy(method.network.auxiliary(features, 0), batch.y)
    torch.testing.assert_close(method.training_loss(batch), expected)


@pytest.mark.parametrize(
    ("k", "new", "old", "steps"),
    [(1, 32, 32, 144), (2, 21, 42, 147), (3, 16, 48, 150), (4, 12, 51, 154)],
)
def test_batches_of_the_published_protocol(k: int, new: int, old: int, steps: int) -> None:
    """The table of the specification for CIFAR-10: two classes a task, 4,500 images of each."""
    method = made(batch_size=256)
    tasks = learned(method, k + 1)
    assert method._shares() == (new, old)
    (now,) = method.rounds(tasks[-1])
    assert [now.feeds[name].batch_size for name in ("new", "old")] == [new, old]
    assert now.feeds["taught"].batch_size is None  # as many as of R
    assert now.batch_size == 256 // 4
    assert math.ceil((9000 + 200 * k) / now.batch_size) == steps


def test_a_round_has_the_new_images_and_the_exemplars_alone() -> None:
    method = made()
    tasks = learned(method, 3)
    (now,) = method.rounds(tasks[2])
    assert now.batch_size == 12
    assert callable(now.train)
    assert isinstance(now.val, Images)
    train = now.train()
    assert len(train) == len(tasks[2].train) + 2 * 3 * 4
    assert len(now.val) == sum(len(visit.task.val) for visit in tasks)
    for visit in tasks[:2]:
        kept = train.x[train.t == visit.task.index]
        assert len(kept) == 12
        rows = [bool((visit.train.x == image).flatten(1).all(1).any()) for image in kept]
        assert all(rows)
        labels = train.y[train.t == visit.task.index]
        assert labels.bincount().tolist() == [4, 4, 4]


@pytest.mark.parametrize("unlabeled", ["exemplars", "folder"])
def test_views_are_frozen_and_the_teacher_answered_on_them(unlabeled: str, tmp_path: Path) -> None:
    shape = (3, 8, 8)
    if unlabeled == "folder":
        for number in range(30):
            colour = tuple(torch.randint(0, 256, (3,)).tolist())
            Image.new("RGB", (8, 8), colour).save(tmp_path / f"{number}.png")
    torch.manual_seed(1)
    method = CIL(
        TwoBranchNetwork(small_body(shape), MultiHead), SGD, batch_size=48, memory=4,
        unlabeled=str(tmp_path) if unlabeled == "folder" else unlabeled, neighbours=2,
    )  # fmt: skip
    visit = toy_visit(0)
    y = torch.arange(24) % 3
    train = Images((255 * torch.rand(24, *shape)).byte(), y, torch.zeros(24).long())
    train.augment = RandomCrop(8, padding=2)
    visit = replace(visit, task=replace(visit.task, train=train))
    method.check([visit.task])
    method.begin_task(visit)
    method.end_task(visit, NONE)
    first = method._views(visit)
    assert len(first) == (24 if unlabeled == "folder" else 12)
    assert first.x.dtype == torch.uint8
    method.eval()
    features = method.network.body(first[torch.arange(len(first))].x)
    fresh = method.network.heads(features, 0).detach()
    torch.testing.assert_close(method.taught.now["main"], fresh)
    torch.testing.assert_close(
        method.taught.now["auxiliary"], method.network.auxiliary(features, 0).detach()
    )
    again = CIL(
        TwoBranchNetwork(small_body(shape), MultiHead), SGD, batch_size=48, memory=4,
        unlabeled=method.taught.origin, neighbours=2,
    )  # fmt: skip
    again.begin_task(visit)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again._views(visit).x, first.x)


def test_the_classes_of_all_tasks_are_learned(tmp_path: Path) -> None:
    """On digits, without the task given; exemplars by herding, views of them as U."""
    options = ["data=digits", "strategy=cil", "tasks=3", "epochs=5", "batch_size=64"]
    options += ["optimizer=adam", "lr=0.003", "logger=none", "strategy.memory=20"]
    options += ["strategy.exemplars=herding", "unlabeled=exemplars"]
    assert execute(tmp_path, *options) == 0
    results = results_of(tmp_path)
    assert results["evaluate"] == "class"
    assert min(results["accuracy"][2]) > 0.8
    assert results["method"]["selected"] == {"1": 40, "2": 80}
    assert results["method"]["unlabeled"] == "exemplars"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 0}, r"strategy\.memory=0"),
        ({"neighbours": 0}, r"strategy\.neighbours=0"),
        ({"max_unlabeled": 0}, r"strategy\.max_unlabeled=0"),
        ({"temperature": 0.0}, r"strategy\.temperature=0"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)


def test_refuses_what_does_not_fit_the_stream() -> None:
    with pytest.raises(ValueError, match="batch_size=8: the last of 3 tasks has no new images"):
        made(batch_size=8).check([toy_task(index) for index in range(3)])
    with pytest.raises(ValueError, match=r"strategy\.unlabeled: nowhere: no such folder"):
        made(unlabeled="nowhere").check([toy_task(0)])
    with pytest.raises(ValueError, match="heads=single"):
        TwoBranchNetwork(small_body(), SingleHead)
