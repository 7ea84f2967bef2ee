"""DER++, ER-ACE, MIR, GEM, GDumb and iCaRL against independent computations."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import nn

from lifelong import (
    DERPP,
    ER,
    ERACE,
    GEM,
    MIR,
    GDumb,
    ICaRL,
    IncrementalHead,
    MultiHead,
    Network,
    Strategy,
    TaskStream,
    Wrapped,
    by_class,
    mlp,
)
from lifelong.data.sources import digits
from lifelong.strategies.derpp import distance
from lifelong.strategies.gdumb import cut_mixed
from lifelong.strategies.gem import multipliers
from lifelong.strategies.icarl import head_of

SGD = partial(torch.optim.SGD, lr=0.1)


def stream(**options: Any) -> TaskStream:
    return by_class(digits(), tasks=5, validation=0.1, batch_size=20, fraction=0.2, **options)


def made(kind: Any, heads: Any = MultiHead, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(Network(partial(mlp, (1, 8, 8), [20]), heads), SGD, **options)


def trained(method: Strategy, images: Any, steps: int = 3, **call: Any) -> list[float]:
    """Losses of plain steps on the first batches."""
    optimizer = torch.optim.SGD(method.network.parameters(), lr=0.1)
    method._optimizer = optimizer
    losses = []
    for step in range(steps):
        batch = images[torch.arange(10) + 10 * step]
        loss = method.training_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        method.on_before_optimizer_step(optimizer)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("heads", [MultiHead, IncrementalHead])
def test_kept_logits_are_those_of_the_time_of_storing(heads: Any) -> None:
    method, tasks = made(DERPP, heads, memory=1000), stream()
    wanted: list[torch.Tensor] = []
    optimizer = torch.optim.SGD(method.network.parameters(), lr=0.1)
    for visit in list(tasks)[:3]:
        method.begin_task(visit)
        for step in range(3):
            batch = visit.train[torch.arange(10) + 10 * step]
            with torch.no_grad():
                wanted += list(method(batch.x, batch.t))
            loss = method.training_loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    _, kept = method.memory.sample()
    for logits, expected in zip(kept["logits"], wanted, strict=False):
        torch.testing.assert_close(logits[: len(expected)], expected)
        assert logits[len(expected) :].isnan().all()  # of classes that came later


def test_the_loss_of_derpp_is_its_three_terms() -> None:
    method, visit = made(DERPP, memory=1000, alpha=0.3, beta=0.7), stream().visits[0]
    method.begin_task(visit)
    trained(method, visit.train, 2)
    batch = visit.train[torch.arange(20, 30)]
    state = torch.get_rng_state()
    draws = [method.memory.sample(10) for _ in range(2)]
    torch.set_rng_state(state)
    (old, kept), (again, _) = draws
    expected = F.cross_entropy(method(batch.x, batch.t), batch.y)
    expected = expected + 0.3 * F.mse_loss(method(old.x, old.t), kept["logits"])
    expected = expected + 0.7 * F.cross_entropy(method(again.x, again.t), again.y)
    torch.testing.assert_close(method.training_loss(batch), expected)


def test_the_distance_leaves_out_what_is_no_number() -> None:
    scores = torch.tensor([[1.0, 2.0, 5.0], [3.0, -torch.inf, 5.0]], requires_grad=True)
    logits = torch.tensor([[0.0, torch.nan], [1.0, 2.0]])
    found = distance(scores, logits)
    assert found.item() == (1 + 4) / 2
    found.backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]


def test_er_ace_tells_a_batch_apart_among_its_own_classes() -> None:
    method, tasks = made(ERACE, IncrementalHead, memory=50), stream(order=[1, 2])
    first, second = tasks
    method.begin_task(first)
    plain = made(ER, IncrementalHead, memory=50)
    plain.begin_task(first)
    batch = first.train[torch.arange(10)]
    assert torch.equal(method.training_loss(batch), plain.training_loss(batch))
    method.begin_task(second)
    batch = second.train[torch.arange(0, len(second.train), 6)[:10]]
    state = torch.get_rng_state()
    old, _ = method.memory.sample(len(batch.y))
    torch.set_rng_state(state)
    scores = method(batch.x, batch.t)  # own classes first
    own = scores[:, :2] if len(batch.y.unique()) == 2 else scores[:, batch.y.unique()]
    labels = batch.y if len(batch.y.unique()) == 2 else torch.zeros_like(batch.y)
    expected = F.cross_entropy(own, labels) + F.cross_entropy(method(old.x, old.t), old.y)
    torch.testing.assert_close(method.training_loss(batch), expected)


def test_mir_chooses_what_a_step_raises_most() -> None:
    method, tasks = made(MIR, memory=60, candidates=30), stream(order=[1, 2])
    first, second = tasks
    method.begin_task(first)
    trained(method, first.train, 4)
    method.begin_task(second)
    trained(method, second.train, 1)
    batch = second.train[torch.arange(10, 18)]
    state = torch.get_rng_state()
    some, _ = method.memory.sample(30, without=1)
    torch.set_rng_state(state)
    chosen = method.rehearsed(batch)
    twin = made(MIR)  # the same step, taken in earnest
    for visit in (first, second):
        twin.begin_task(visit)
    twin.network.load_state_dict(method.network.state_dict())
    before = F.cross_entropy(twin(some.x, some.t), some.y, reduction="none")
    F.cross_entropy(twin(batch.x, batch.t), batch.y).backward()
    with torch.no_grad():
        for p in twin.network.parameters():
            p -= 0 if p.grad is None else 0.1 * p.grad
    after = F.cross_entropy(twin(some.x, some.t), some.y, reduction="none")
    best = (after - before).topk(8).indices
    assert sorted(chosen.row.tolist()) == sorted(some.row[best].tolist())
    assert all(p.grad is None for p in method.network.parameters()) or len(chosen.y) == 8


def test_mir_asks_both_losses_alike_and_leaves_no_trace() -> None:
    """A step of no length raises nothing, whatever dropout draws; statistics are as before."""
    torch.manual_seed(0)
    body = partial(
        Wrapped,
        nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout()),
        (1, 8, 8),
    )
    method = MIR(Network(body, MultiHead), partial(torch.optim.SGD, lr=0.0), memory=60)
    first, second = stream(order=[1, 2])
    method.begin_task(first)
    method.memory.add(first.train[torch.arange(40)])
    method.begin_task(second)
    method.configure_optimizers()
    old, batch = first.train[torch.arange(20)], second.train[torch.arange(10)]
    assert torch.equal(method.raised(batch, old), torch.zeros(20))
    before = {name: value.clone() for name, value in method.network.named_buffers()}
    method.rehearsed(batch)
    for name, value in method.network.named_buffers():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_the_quadratic_program_is_that_of_a_solver(margin: float) -> None:
    draw = np.random.default_rng(0)
    for tasks in (1, 2, 5):
        memories, own = draw.normal(size=(tasks, 30)), draw.normal(size=30)
        gram, dots = memories @ memories.T, memories @ own
        ridge = gram + 1e-3 * np.eye(tasks)
        reference = minimize(
            lambda v, p=ridge, q=dots: 0.5 * v @ p @ v + q @ v, np.full(tasks, margin + 1.0),
            jac=lambda v, p=ridge, q=dots: p @ v + q, bounds=[(margin, None)] * tasks,
            method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 10_000},
        )  # fmt: skip
        np.testing.assert_allclose(multipliers(gram, dots, margin), reference.x, atol=1e-5)


def test_steps_of_gem_agree_with_the_gradients_of_all_memories() -> None:
    method, tasks = made(GEM, per_class=5, margin=0.0), stream(order=[1, 2, 3])
    for visit in tasks:
        method.begin_task(visit)
        trained(method, visit.train, 3)
    batch = tasks.visits[-1].train[torch.arange(30, 40)]
    method.network.zero_grad()
    method.training_loss(batch).backward()
    references = [reference.clone() for reference in method._references]
    assert len(references) == 2
    method.on_before_optimizer_step(method._optimizer)
    step = torch.cat([
        torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
        for p in method._trained()
    ])  # fmt: skip
    for reference in references:
        assert float(step @ reference) > -1e-3 * float(reference.norm())


def test_gdumb_trains_from_its_first_weights_on_a_balanced_memory() -> None:
    method, tasks = made(GDumb, memory=40), stream()
    visits = list(tasks)
    method.begin_task(visits[0])
    first = {name: p.detach().clone() for name, p in method.network.named_parameters()}
    images = next(method.rounds(visits[0])).train()
    assert images.y.bincount().tolist() == [20, 20]
    trained(method, images, 3)
    method.begin_task(visits[1])
    images = next(method.rounds(visits[1])).train()
    now = dict(method.network.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in first.items())
    assert (2 * images.t + images.y).bincount().tolist() == [10, 10, 10, 10]
    late = made(GDumb, memory=40, train="last")
    for visit in visits:
        late.begin_task(visit)
        assert len(list(late.rounds(visit))) == visit.is_last


@pytest.mark.parametrize(("beta", "draws"), [(0.0, 1), (0.5, 2)])
def test_der_draws_once_a_step(beta: float, draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    method, tasks = made(DERPP, memory=40, beta=beta), list(stream())
    method.begin_task(tasks[0])
    trained(method, tasks[0].train, 1)
    drawn, sample = [], method.memory.sample
    monkeypatch.setattr(
        method.memory, "sample", lambda *args, **rest: drawn.append(args) or sample(*args, **rest)
    )
    trained(method, tasks[0].train, 1)
    assert len(drawn) == draws


def test_cutmix_pastes_a_box_of_the_image_before() -> None:
    for seed in range(8):
        torch.manual_seed(seed)
        x = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 2, 9, 7).contiguous()
        mixed, share = cut_mixed(x)
        own = mixed == x
        torch.testing.assert_close(own.double().mean((1, 2, 3)), torch.full((5,), share).double())
        assert torch.equal(mixed, x.where(own, x.roll(1, 0)))
    assert cut_mixed(x[:1])[1] == 1.0


def test_gdumb_has_the_labels_of_both_images_by_their_shares() -> None:
    method, tasks = made(GDumb, IncrementalHead, memory=40, cutmix=1.0), stream()
    for visit in list(tasks)[:2]:
        method.begin_task(visit)
        images = next(method.rounds(visit)).train()
    batch = images[torch.tensor([0, 25, 3, 39, 12])]  # of both tasks
    assert len(batch.t.unique()) == 2
    torch.manual_seed(4)
    loss = method.training_loss(batch)
    torch.manual_seed(4)
    torch.rand(())
    x, share = cut_mixed(batch.x)
    assert 0 < share < 1
    terms = []
    for row in range(5):
        for place, part in ((row, share), ((row - 1) % 5, 1 - share)):
            scores = method(x[row : row + 1], batch.t[place : place + 1])
            terms.append(part * F.cross_entropy(scores, batch.y[place : place + 1]) / 5)
    torch.testing.assert_close(loss, torch.stack(terms).sum())
    plain = made(GDumb, IncrementalHead, memory=40, cutmix=0.0)
    assert plain.method["cutmix"] == 0


def test_icarl_is_that_of_numpy() -> None:
    method, tasks = made(ICaRL, IncrementalHead, memory=12), stream(order=[1, 2, 3])
    for number, visit in enumerate(tasks, 1):
        method.begin_task(visit)
        images = next(method.rounds(visit)).train()
        batch = images[torch.arange(len(images))]
        scores = head_of(method.network).scores(method.network.body(batch.x))
        wanted = (method.class_of(batch)[:, None].numpy() == np.arange(2 * number)).astype(float)
        if number > 1:
            old = head_of(method.teacher).scores(method.teacher.body(batch.x))
            wanted[:, : 2 * number - 2] = old.sigmoid().detach()
        p = scores.sigmoid().detach().double().numpy()
        expected = -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p)).mean()
        assert float(method.training_loss(batch).detach()) == pytest.approx(expected, rel=1e-5)
        trained(method, images, 2)
        method.end_task(visit, tasks.loader(visit.train))
        assert len(method.kept) == 12 // (2 * number) * 2 * number
    with torch.no_grad():
        for task in tasks.tasks:
            every = task.train[torch.arange(len(task.train))]
            features = F.normalize(method.network.body(every.x)).numpy()
            kept = method.kept.rows[method.kept.tasks == task.index].numpy()
            for label, number in enumerate(task.classes):
                own = kept[task.train.y.numpy()[kept] == label]
                if task.index == 2:  # by herding under the network as it is now
                    assert own.tolist() == by_herding(features, task.train.y.numpy(), label, 2)
                mean = features[own].mean(0)
                column = method.numbers.index(number)
                np.testing.assert_allclose(
                    method.means[column], mean / np.linalg.norm(mean), atol=1e-5
                )


def test_icarl_answers_by_its_outputs_while_it_learns() -> None:
    """Means are those of the task before: they know no new class."""
    method, tasks = made(ICaRL, IncrementalHead, memory=12), stream(order=[1, 2])
    first, second = tasks
    method.begin_task(first)
    method.end_task(first, tasks.loader(first.train))
    test = second.task.test[torch.arange(len(second.task.test))]
    method.begin_task(second)
    outputs = Strategy.predict(method, test.x)
    assert torch.equal(method.predict(test.x).scores, outputs.scores)
    resumed = made(ICaRL, IncrementalHead, memory=12)
    for visit in (first, second):
        resumed.begin_task(visit)
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(resumed.predict(test.x).scores, outputs.scores)
    method.end_task(second, tasks.loader(second.train))
    assert not torch.equal(method.predict(test.x).scores, outputs.scores)


def test_icarl_measures_distances_in_32_bits() -> None:
    """Those of bfloat16 are not told apart."""
    method, tasks = made(ICaRL, IncrementalHead, memory=12), stream(order=[1])
    [visit] = tasks
    method.begin_task(visit)
    method.end_task(visit, tasks.loader(visit.train))
    asked = []
    method._nearness = lambda features: asked.append(features.dtype) or features[:, :2]
    with torch.autocast("cpu", torch.bfloat16):
        method.predict(visit.train[torch.arange(3)].x)
        assert asked == [torch.float32]
        assert method.network.body(visit.train[torch.arange(3)].x).dtype == torch.bfloat16


def test_icarl_needs_room_for_each_class() -> None:
    with pytest.raises(ValueError, match=r"strategy\.memory=5: the stream has 10 classes"):
        made(ICaRL, IncrementalHead, memory=5).check(stream().tasks)


def by_herding(features: Any, labels: Any, label: int, count: int) -> list[int]:
    rows, chosen = np.flatnonzero(labels == label), list[int]()
    mean = features[rows].mean(0)
    for _ in range(count):
        rest = [row for row in rows if row not in chosen]
        apart = [np.linalg.norm(mean - features[[*chosen, row]].mean(0)) for row in rest]
        chosen.append(int(rest[int(np.argmin(apart))]))
    return chosen


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (DERPP, {"alpha": -1.0}, r"strategy\.alpha=-1\.0"),
        (MIR, {"candidates": 0}, r"strategy\.candidates=0"),
        (GEM, {"margin": -0.1}, r"strategy\.margin=-0\.1"),
        (ICaRL, {}, "strategy=icarl: .* give heads=incremental"),
        (GDumb, {"memory": 0}, r"strategy\.memory=0"),
        (GDumb, {"cutmix": 1.5}, r"strategy\.cutmix=1\.5"),
    ],
)
def test_refuses(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(kind, **options)
