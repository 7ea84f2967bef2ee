"""PackNet, WSN, GPM, L2 Init, shrink and perturb by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import (
    EWC,
    GPM,
    HAT,
    SI,
    WSN,
    IncrementalHead,
    L2Init,
    MultiHead,
    Network,
    PackNet,
    ShrinkPerturb,
    SingleHead,
    Strategy,
    TaskStream,
    Wrapped,
    by_class,
    convnet,
    mlp,
)
from lifelong.backbones import Body
from lifelong.data.sources import digits
from lifelong.parts.anchor import key
from lifelong.parts.layer_calls import LayerTracer
from lifelong.strategies.gpm import patches, spanned
from lifelong.strategies.wsn import best
from tests.conftest import Centred

SGD = partial(torch.optim.SGD, lr=0.1)


class Tokens(Body):
    """A linear map of the 16 patches of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = 6
        self.patches, self.linear = nn.Conv2d(1, 5, 2, stride=2), nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(self.patches(x).flatten(2).transpose(1, 2)).relu().mean(1)
        return found


BODIES = {
    "tokens": Tokens,
    "mlp": partial(mlp, (1, 8, 8), [20, 12]),
    "convnet": partial(convnet, (1, 8, 8), [4, 6], [2, 2]),
}


def stream(**options: Any) -> TaskStream:
    return by_class(digits(), tasks=5, validation=0.1, batch_size=20, fraction=0.2, **options)


def made(kind: Any, body: str = "mlp", **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(Network(BODIES[body], MultiHead), SGD, **options)


def step(method: Strategy, batch: Any, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    method.training_loss(batch).backward()
    method.on_before_optimizer_step(optimizer)
    optimizer.step()
    method.on_train_batch_end(None, batch, 0)


def learned(method: Any, made: TaskStream, steps: int = 4) -> None:
    """A few steps of momentum and decay in each round of each visit."""
    for visit in made:
        method.begin_task(visit)
        for _ in method.rounds(visit):
            method.on_train_start()
            params = [p for p in method.parameters() if p.requires_grad]
            optimizer = torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=0.01)
            for number in range(steps):
                step(method, visit.train[torch.arange(10) + 10 * (number % 3)], optimizer)
        method.end_task(visit, made.loader(visit.train))


def answers(method: Strategy, task: Any) -> torch.Tensor:
    method.eval()
    batch = task.test[torch.arange(len(task.test))]
    with torch.no_grad():
        return method(batch.x, batch.t)


@pytest.mark.parametrize("kind", [PackNet, WSN])
@pytest.mark.parametrize("body", BODIES)
def test_answers_of_earlier_tasks_stay_to_the_last_bit(kind: Any, body: str) -> None:
    method, tasks = made(kind, body), stream()
    visits, before = list(tasks), []
    for number, visit in enumerate(visits):
        one = TaskStreamOf(visit, tasks)
        learned(method, one)
        assert all(
            torch.equal(kept, answers(method, visits[index].task))
            for index, kept in enumerate(before)
        )
        before.append(answers(method, visit.task))
        assert len(before) == number + 1
    mixed = torch.cat([visits[0].task.test.x[:3], visits[3].task.test.x[:3]]).float()
    t = torch.tensor([0, 0, 0, 3, 3, 3])
    with torch.no_grad():
        whole = method(mixed, t)
        parts = [method(mixed[:3], t[:3]), method(mixed[3:], t[3:])]
    torch.testing.assert_close(whole, torch.cat(parts))
    assert method.predict(mixed).scores.shape == (6, 10)


class TaskStreamOf:
    """One visit of a stream."""

    def __init__(self, visit: Any, whole: TaskStream) -> None:
        self.visit, self.loader = visit, whole.loader

    def __iter__(self) -> Any:
        return iter([self.visit])


def test_packnet_prunes_the_smallest_free_weights_of_each_layer() -> None:
    method, tasks = made(PackNet, prune=0.75), stream(order=[1, 2])
    learned(method, tasks)
    for name, p in method.weights().items():
        owner, size = method.owner[name], p.numel()
        left = round(0.75 * size)
        assert int((owner == 1).sum()) == size - left
        assert int((owner == 2).sum()) == left - round(0.75 * left)
        assert not p[owner == 0].any()
    assert method.method["capacity"]["2"] == pytest.approx(1 - 0.75**2, abs=0.01)


def test_packnet_leaves_weights_of_others_alone_in_each_round() -> None:
    method, visits = made(PackNet, prune=0.5), list(stream(order=[1, 2]))
    learned(method, TaskStreamOf(visits[0], stream()))
    method.begin_task(visits[1])
    for number, _ in enumerate(method.rounds(visits[1])):
        before = {name: p.detach().clone() for name, p in method.weights().items()}
        method.on_train_start()
        optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=0.01)
        for _ in range(3):
            step(method, visits[1].train[torch.arange(10)], optimizer)
        for name, p in method.weights().items():
            owner = method.owner[name]
            free = owner == (0 if number == 0 else 2)
            assert torch.equal(p[~free], before[name][~free])
            assert not torch.equal(p[free], before[name][free])


def test_the_gradient_of_a_score_is_that_of_its_place_in_the_mask() -> None:
    method, visit = made(WSN, share=0.3), stream().visits[0]
    method.begin_task(visit)
    batch = visit.train[torch.arange(10)]
    method.training_loss(batch).backward()
    masks = {name: mask.float().requires_grad_() for name, mask in method.mask().items()}
    assert all(int(mask.sum()) == round(0.3 * mask.numel()) for mask in masks.values())
    h = batch.x.flatten(1)
    for number, (name, mask) in enumerate(masks.items()):
        bias = method.network.body[number].bias
        h = F.linear(h, method.weights()[name] * mask, bias).relu()
    F.cross_entropy(method.network.heads(h, 0), batch.y).backward()
    for name, mask in masks.items():
        score = method.scores[method._score[name]]
        torch.testing.assert_close(score.grad, mask.grad * score.sign())


def test_wsn_counts_what_is_taken() -> None:
    method = made(WSN, share=0.3)
    learned(method, stream(order=[1, 2, 3]))
    union = {name: torch.zeros_like(p).bool() for name, p in method.weights().items()}
    for masks in method.masks.values():
        for name, mask in masks.items():
            union[name] |= mask
    share = sum(int(u.sum()) for u in union.values()) / sum(u.numel() for u in union.values())
    assert method.method["capacity"]["3"] == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("body", BODIES)
def test_steps_of_gpm_are_orthogonal_to_old_inputs(body: str) -> None:
    method, tasks = made(GPM, body, threshold=0.9), stream(order=[1, 2, 3])
    visits = list(tasks)
    for visit in visits[:2]:
        learned(method, TaskStreamOf(visit, tasks))
    method.begin_task(visits[2])
    method.double()
    method.on_train_start()
    batch = visits[2].train[torch.arange(10)]
    F.cross_entropy(method(batch.x.double(), batch.t), batch.y).backward()
    method.on_before_optimizer_step(torch.optim.SGD(method.parameters(), lr=0.1))
    for name, p in method.weights().items():
        basis = method.bases[name].double()
        identity = torch.eye(basis.shape[1], dtype=torch.double)
        torch.testing.assert_close(basis.T @ basis, identity, atol=1e-10, rtol=0)
        assert float((p.grad.flatten(1) @ basis).abs().max()) < 1e-10
        assert p.grad.any()


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Centred])
@pytest.mark.parametrize("kind", [GPM, PackNet, WSN])
def test_running_statistics_are_those_of_the_first_task(kind: Any, norm: Any) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), norm(4))
    body = partial(Wrapped, module, (1, 8, 8))
    method, visits = kind(Network(body, MultiHead), SGD), list(stream(order=[1, 2]))
    for visit in visits:
        method.begin_task(visit)
        method.train()
        before = {name: value.clone() for name, value in method.network.body.named_buffers()}
        batch = visit.train[torch.arange(10)]
        method(batch.x, batch.t)
        after = dict(method.network.body.named_buffers())
        moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
        assert bool(moved) == (visit.number == 1)


def test_the_basis_is_that_of_a_singular_value_decomposition() -> None:
    draw = np.random.default_rng(0)
    inputs = torch.from_numpy(draw.normal(size=(12, 40)) * np.linspace(3, 0.1, 12)[:, None])
    found = spanned(inputs, None, 0.9)
    u, s, _ = np.linalg.svd(inputs.numpy())
    count = int(np.searchsorted(np.cumsum(s**2) / (s**2).sum(), 0.9)) + 1
    assert found.shape == (12, count)
    np.testing.assert_allclose((found @ found.T).numpy(), u[:, :count] @ u[:, :count].T, atol=1e-10)
    more = torch.from_numpy(draw.normal(size=(12, 40)))
    wider = spanned(more, found, 0.95)
    kept = (wider.T @ more).square().sum() / more.square().sum()
    assert kept >= 0.95
    torch.testing.assert_close(wider @ (wider.T @ found), found)  # what was kept is in it
    fewer = wider[:, :-1]
    assert (fewer.T @ more).square().sum() / more.square().sum() < 0.95
    assert spanned(inputs, found, 0.5).shape == found.shape  # which it holds already


def test_a_basis_where_eigenvalues_do_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with far more entries than columns: by singular values then, with the same span."""
    torch.manual_seed(0)
    inputs = torch.randn(40, 6, dtype=torch.float64)
    usual = spanned(inputs, None, 0.9)

    def fails(matrix: Tensor) -> None:
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    other = spanned(inputs, None, 0.9)
    torch.testing.assert_close(other @ other.T, usual @ usual.T)


def test_patches_stand_in_the_order_of_the_weights_entries() -> None:
    u, weight = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3)
    options = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    seen = patches(u, (3, 3), options)  # (27, 2 * 36)
    z = (weight.flatten(1) @ seen).view(4, 2, 6, 6).transpose(0, 1)
    torch.testing.assert_close(z, F.conv2d(u, weight, padding=1))
    tokens = torch.randn(2, 5, 3)  # each is an input
    assert torch.equal(patches(tokens, (), {}), tokens.reshape(10, 3).T)


def test_l2_init_draws_to_the_first_weights() -> None:
    method, visits = made(L2Init, strength=0.3), list(stream(order=[1, 2]))
    method.begin_task(visits[0])
    first = {name: p.detach().clone() for name, p in method.network.named_parameters()}
    learned(method, TaskStreamOf(visits[0], stream()))
    method.begin_task(visits[1])
    first |= {
        name: p.detach().clone() for name, p in method.network.named_parameters()
        if name.startswith("heads.all.1")
    }  # fmt: skip
    batch = visits[1].train[torch.arange(10)]
    expected = F.cross_entropy(method(batch.x, batch.t), batch.y)
    for name, p in method.network.named_parameters():
        if not name.startswith("heads.all.0"):
            expected = expected + 0.3 * (p - first[name]).square().sum()
    torch.testing.assert_close(method.training_loss(batch), expected)


def test_shrink_and_perturb() -> None:
    method, visits = made(ShrinkPerturb, shrink=0.5, deviation=0.1), list(stream(order=[1, 2]))
    method.begin_task(visits[0])
    before = {name: p.detach().clone() for name, p in method.network.named_parameters()}
    torch.manual_seed(3)
    method.begin_task(visits[1])
    noise = []
    for name, p in method.network.named_parameters():
        if name.startswith("heads.all.0"):
            assert torch.equal(p, before[name])
        elif name.startswith("body"):
            noise.append((p.detach() - 0.5 * before[name]).flatten())
    values = torch.cat(noise)
    assert float(values.std()) == pytest.approx(0.1, rel=0.1)
    assert abs(float(values.mean())) < 0.01


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (PackNet, {"prune": 1.0}, r"strategy\.prune=1\.0: give a share"),
        (PackNet, {"retrain_epochs": 0}, r"strategy\.retrain_epochs=0"),
        (WSN, {"share": 0.0}, r"strategy\.share=0\.0"),
        (GPM, {"threshold": 1.5}, r"strategy\.threshold=1\.5"),
        (L2Init, {"strength": -1.0}, r"strategy\.strength=-1\.0"),
        (ShrinkPerturb, {"shrink": 1.5}, r"strategy\.shrink=1\.5"),
    ],
)
def test_refuses(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(kind, **options)


@pytest.mark.parametrize("heads", [SingleHead, IncrementalHead])
@pytest.mark.parametrize("kind", [PackNet, WSN, GPM, HAT])
def test_a_head_that_tasks_share_is_refused(kind: Any, heads: Any) -> None:
    """Nothing holds it, and so answers of earlier tasks would change."""
    with pytest.raises(ValueError, match=f"heads: {kind.__name__} .* give heads=multi"):
        kind(Network(BODIES["mlp"], heads), SGD)


class Odd(nn.Module):
    """Layers of whose inputs GPM has no basis, and one of which it has."""

    def __init__(self, padding: Any = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=padding)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.norm, self.token = nn.LayerNorm([8, 8]), nn.Parameter(torch.randn(1, 4, 8, 8))
        self.own = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.grouped(self.first(x).relu()) + self.token)
        return x.mean((2, 3)) @ self.own


def odd(kind: Any, padding: Any = 1) -> Any:
    torch.manual_seed(0)
    body = partial(Wrapped, Odd(padding), (1, 8, 8))
    return kind(Network(body, MultiHead), SGD)


def test_gpm_trains_nothing_of_whose_inputs_it_has_no_basis() -> None:
    method, tasks = odd(GPM), list(stream())
    learned(method, TaskStreamOf(tasks[0], stream()))
    before = {name: p.clone() for name, p in method.network.body.named_parameters()}
    learned(method, TaskStreamOf(tasks[1], stream()))
    now = dict(method.network.body.named_parameters())
    moved = {name for name in now if not torch.equal(now[name], before[name])}
    assert moved == {"module.first.weight"}
    assert list(method.bases) == ["body.module.first.weight"]
    fixed = ["body.module.own", "body.module.grouped.weight"]
    assert method.method["fixed_after_first"] == fixed


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (4, 1), (3, 2), (2, 3)])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_paddings_by_name_are_those_by_number(kernel: int, dilation: int) -> None:
    """Of an even reach the end has one more, as in PyTorch."""
    x, layer = torch.randn(2, 3, 9, 9), nn.Conv2d(3, 4, kernel, padding="same", dilation=dilation)
    with LayerTracer({"w": layer.weight}) as calls:
        out = layer(x)
    (call,) = calls.made
    found = layer.weight.flatten(1) @ patches(call.u, call.kernel, call.options)
    wanted = (out - layer.bias.view(1, -1, 1, 1)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found, wanted)
    assert call.weight not in calls.elsewhere


@pytest.mark.parametrize("kind", [PackNet, WSN, GPM])
def test_weights_are_those_of_layers(kind: Any) -> None:
    """Norms and tokens are as biases, whatever their shape."""
    names = ["own", "first.weight", "grouped.weight"]
    assert sorted(odd(kind).weights()) == sorted(f"body.module.{name}" for name in names)


@pytest.mark.parametrize("kind", [PackNet, WSN, GPM])
@pytest.mark.parametrize(
    "made_of",
    [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_that_are_made_of_others_are_refused(kind: Any, made_of: Any) -> None:
    body = partial(Wrapped, nn.Sequential(made_of(nn.Conv2d(1, 3, 3))), (1, 8, 8))
    with pytest.raises(ValueError, match=r"backbone: the weight of module\.0 is made of others"):
        kind(Network(body, MultiHead), SGD)


@pytest.mark.parametrize("kind", [PackNet, WSN, GPM])
def test_what_is_made_of_others_and_never_trained_is_borne(kind: Any) -> None:
    still = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 3, 3)).requires_grad_(False)
    body = partial(Wrapped, nn.Sequential(still, nn.Conv2d(3, 2, 3)), (1, 8, 8))
    assert list(kind(Network(body, MultiHead), SGD).weights()) == ["body.module.1.weight"]


def test_names_in_files_are_those_of_the_version_before() -> None:
    assert key("body._conv.0.weight") == "body___conv__0__weight"
    assert list(made(WSN).scores) == ["body_0_weight", "body_1_weight"]


class Alike(nn.Module):
    """Whose parameters' names differ by dots and underscores alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.layer_1, self.layer__1 = nn.Linear(8, 8), nn.Linear(8, 8)
        self.layer_ = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.layer_._1 = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2).mean(1)
        for each in (*self.layer, self.layer_1, self.layer__1, *self.layer_, self.layer_._1):
            x = each(x).relu()
        return x


@pytest.mark.parametrize("kind", [WSN, EWC, SI])
def test_no_two_layers_share_what_is_known_of_one(kind: Any) -> None:
    method = kind(Network(partial(Wrapped, Alike(), (1, 8, 8)), MultiHead), SGD)
    if kind is WSN:
        assert len(method.scores) == len(method.weights()) == 7
        return
    method.begin_task(next(iter(stream())))
    names = [name for name, p in method.named_parameters() if p.requires_grad]
    held = [name for name, _ in method.anchor.named_buffers() if "weight_" in name[:7]]
    assert len(held) >= len([name for name in names if name.startswith("network.body")]) == 14
    assert len({method.anchor.weight(name.removeprefix("network.")).data_ptr() for name in names
                if name.startswith("network.body")}) == 14  # fmt: skip


@pytest.mark.parametrize("kind", [PackNet, WSN, GPM])
def test_what_is_never_trained_is_given_to_no_task(kind: Any) -> None:
    def body() -> Wrapped:
        torch.manual_seed(0)
        return Wrapped(nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3)), (1, 8, 8), freeze=1)

    method = kind(Network(body, MultiHead), SGD)
    frozen = method.network.body.module[0].weight
    before = frozen.clone()
    learned(method, stream(order=[1, 2]))
    assert torch.equal(frozen, before)
    assert list(method.weights()) == ["body.module.1.weight"]
    fixed = partial(Wrapped, nn.Conv2d(1, 3, 3), (1, 8, 8), fixed=True)
    with pytest.raises(ValueError, match=r"backbone\.fixed=true: leaves"):
        kind(Network(fixed, MultiHead), SGD)


def test_packnet_answers_for_tasks_to_come() -> None:
    method, visits = made(PackNet), list(stream())
    method.begin_task(visits[0])
    method.network.add_task(1, (2, 3))
    assert answers(method, visits[1].task).shape == (len(visits[1].task.test), 2)


@pytest.mark.parametrize("heads", [SingleHead, IncrementalHead])
def test_shrinking_leaves_a_head_that_tasks_share(heads: Any) -> None:
    visits = list(stream(order=[1, 2], labels="shared" if heads is SingleHead else "own"))
    method = ShrinkPerturb(Network(BODIES["mlp"], heads), SGD, shrink=0.5, deviation=0.1)
    method.begin_task(visits[0])
    before = {name: p.detach().clone() for name, p in method.network.heads.named_parameters()}
    method.begin_task(visits[1])
    for name, p in method.network.heads.named_parameters():
        old = before.get(name)
        assert old is None or torch.equal(p[: len(old)], old)


def test_packnet_prunes_by_a_share_for_each_visit() -> None:
    method, tasks = made(PackNet, prune=[0.9, 0.5]), stream(order=[1, 2, 3])
    learned(method, tasks)
    for name, p in method.weights().items():
        owner, left = method.owner[name], p.numel()
        for number, share in enumerate((0.9, 0.5, 0.5), 1):
            assert int((owner == number).sum()) == left - round(share * left)
            left = round(share * left)
    with pytest.raises(ValueError, match=r"strategy\.prune=\[1\.0\]"):
        made(PackNet, prune=[1.0])


def test_the_best_are_those_of_a_stable_sort() -> None:
    torch.manual_seed(0)
    for values in (torch.randn(7, 30), torch.randint(5, (4, 50)).float(), torch.ones(3, 9)):
        for count in (1, 5, values.numel() // 2, values.numel()):
            order = values.flatten().argsort(descending=True, stable=True)[:count]
            wanted = torch.zeros(values.numel(), dtype=torch.bool)
            wanted[order] = True
            assert torch.equal(best(values, count), wanted.view_as(values))
