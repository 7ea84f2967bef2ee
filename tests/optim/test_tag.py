"""TAG against hand calculations, plain loops and the base optimizers (TAG spec, section 9)."""

from __future__ import annotations

import copy
import math
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lifelong.backbones import mlp
from lifelong.networks import Network, OutputMatrix
from lifelong.optim import TAG
from lifelong.optim.task_optimizer import load_by_name
from tests.conftest import execute, results_of
from tests.optim.vectors import vector

RULES = ["rmsprop", "adagrad", "adam"]
rules = pytest.mark.parametrize("rule", RULES)


def run(
    optimizer: TAG, p: torch.nn.Parameter, tasks: list[list[tuple[float, ...]]]
) -> list[tuple[list[float], list[list[float]]]]:
    """Steps with given gradients; theta and the weights after each."""
    seen = []
    for gradients in tasks:
        optimizer.begin_epoch()
        for gradient in gradients:
            p.grad = torch.tensor(gradient, dtype=p.dtype)
            optimizer.step()
            seen.append((p.detach().tolist(), optimizer.relatedness))
        optimizer.end_task()
    return seen


HAND: list[list[tuple[float, ...]]] = [[(1, 0), (1, 2)], [(0, 1), (-1, 1)]]
EXPECTED = {
    "rmsprop": [
        (0.000000100000, -2), (-0.708881054757, -2.999999950000),
        (-0.708881054757, -3.658639281520), (0.034046675549, -4.183185037873),
    ],
    "adagrad": [
        (0.900000001000, -2), (0.829289323381, -2.099999999500),
        (0.829289323381, -2.165863936556), (0.903433783457, -2.218291987177),
    ],
    "adam": [
        (0.900000001000, -2), (0.800000002000, -2.074413681831),
        (0.800000002000, -2.140277618887), (0.855184631983, -2.214407288585),
    ],
}  # fmt: skip


@rules
def test_the_hand_example(rule: Any) -> None:
    p = vector(1, -2)
    seen = run(TAG([p], lr=0.1, b=1.0, rule=rule), p, HAND)
    for (theta, _), expected in zip(seen, EXPECTED[rule], strict=True):
        assert theta == pytest.approx(expected, abs=1e-11)
    weights = [relatedness for _, relatedness in seen]
    assert weights[0] == weights[1] == []
    assert weights[2][0] == pytest.approx([0.484324843280], abs=1e-11)
    assert weights[3][0] == pytest.approx([0.725580971519], abs=1e-11)


def test_without_relatedness() -> None:
    p = vector(1, -2)
    seen = run(TAG([p], lr=0.1, b=0.0), p, HAND)
    assert seen[-1][0] == pytest.approx([-0.1305661562356666, -3.8558024320281885], abs=1e-12)


@rules
@pytest.mark.parametrize(("epochs", "scope"), [(1, "epoch"), (2, "epoch"), (2, "task")])
def test_one_task_is_the_base_optimizer(rule: Any, epochs: int, scope: Any) -> None:
    base = {
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.99, eps=1e-8),
        "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01, eps=1e-8),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-8),
    }[rule]
    ours, theirs = [torch.nn.Parameter(torch.arange(6.0, dtype=torch.double)) for _ in range(2)]
    tag, plain = TAG([ours], lr=0.01, b=3.0, rule=rule, step_scope=scope), base([theirs])
    for _ in range(epochs):
        tag.begin_epoch()
        for _ in range(100):
            ours.grad = torch.randn(6, dtype=torch.double)
            theirs.grad = ours.grad.clone()
            tag.step()
            plain.step()
    same = torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    assert same == (rule != "adam" or epochs == 1 or scope == "task")


def test_amplification_where_no_earlier_task_has_energy() -> None:
    p = vector(1, -2)
    seen = run(TAG([p], lr=0.1, b=5.0), p, [[(1, 0)], [(0, 1)]])
    assert 1 - seen[0][0][0] == pytest.approx(0.9999999, abs=1e-9)
    assert -2 - seen[1][0][1] == pytest.approx(-12.1824791 * -1, abs=1e-6)
    assert seen[1][1] == [[1.0]]  # disjoint supports


def test_scale_of_the_gradients_does_not_matter() -> None:
    ends = []
    for scale in (1, 1000):
        p = vector(1, -2)
        scaled = [[tuple(scale * g for g in gradient) for gradient in task] for task in HAND]
        ends.append(run(TAG([p], lr=0.1, b=5.0), p, scaled)[-1][0][0])
    assert ends[0] == pytest.approx(0.8587114, abs=2e-7)
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)


@rules
@pytest.mark.parametrize("group", ["tensor", "global"])
def test_zero_gradients_stay_finite(rule: Any, group: Any) -> None:
    p, q = vector(1, -2), vector(3)
    optimizer = TAG([p, q], lr=0.1, rule=rule, group=group)
    for task in range(3):
        for _ in range(3):
            p.grad = torch.tensor([0.0, 0.0] if task == 0 else [1.0, 2.0], dtype=torch.double)
            q.grad = torch.ones(1, dtype=torch.double)
            optimizer.step()
        if task == 1 and group == "tensor":
            assert optimizer.relatedness[0][0] == 1.0
        optimizer.end_task()
    assert p.isfinite().all()


def plain_loop(
    shapes: list[tuple[int, ...]], gradients: list[list[list[Tensor]]], rule: str, b: float
) -> list[Tensor]:
    """The algorithm tensor by tensor, as section 3 writes it."""
    beta2 = {"rmsprop": 0.99, "adam": 0.999, "adagrad": 0.0}[rule]
    thetas = [torch.ones(shape, dtype=torch.double) for shape in shapes]
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in shapes]
    for task in gradients:
        mus, nus = ([torch.zeros_like(theta) for theta in thetas] for _ in range(2))
        for s, step in enumerate(task, 1):
            for i, g in enumerate(step):
                mus[i] = 0.9 * mus[i] + 0.1 * g
                nus[i] = nus[i] + g**2 if rule == "adagrad" else beta2 * nus[i] + (1 - beta2) * g**2
                total = nus[i] * (math.exp(-b) if kept[i] else 1)
                for u, nu in kept[i]:
                    total = total + torch.exp(-b * (mus[i] / mus[i].norm() * u).sum()) * nu
                if rule == "adam":
                    root = total.sqrt() / math.sqrt(1 - beta2**s)
                    thetas[i] = thetas[i] - 0.01 * (mus[i] / (1 - 0.9**s)) / (root + 1e-8)
                else:
                    thetas[i] = thetas[i] - 0.01 * g / (total.sqrt() + 1e-8)
        for i in range(len(shapes)):
            kept[i].append((mus[i] / mus[i].norm(), nus[i]))
    return thetas


@rules
def test_equals_the_plain_loop(rule: Any) -> None:
    shapes: list[tuple[int, ...]] = [(3, 4), (4,), (), (2, 3, 2, 2)]
    gradients = [
        [[torch.randn(shape, dtype=torch.double) for shape in shapes] for _ in range(6)]
        for _ in range(5)
    ]
    parameters = [torch.nn.Parameter(torch.ones(shape, dtype=torch.double)) for shape in shapes]
    optimizer = TAG(parameters, lr=0.01, b=2.0, rule=rule)
    for task in gradients:
        optimizer.begin_epoch()
        for step in task:
            for p, g in zip(parameters, step, strict=True):
                p.grad = g.clone()
            optimizer.step()
            for row in optimizer.relatedness:
                assert all(math.exp(-2) <= w <= math.exp(2) for w in row)
        optimizer.end_task()
    for p, expected in zip(parameters, plain_loop(shapes, gradients, rule, 2.0), strict=True):
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-10)


class Counting(TorchDispatchMode):
    """Counts what is computed."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


@rules
def test_the_number_of_computations_does_not_grow_with_the_tasks(rule: Any) -> None:
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 4), (4,), ())]
    optimizer = TAG(parameters, lr=0.01, rule=rule)
    counts = []
    for _ in range(8):
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer.step()
        with Counting() as counting:
            optimizer.step()
        counts.append(counting.calls)
        optimizer.end_task()
    assert len(set(counts[1:])) == 1
    assert counts[0] < counts[1]  # it does count


@pytest.mark.parametrize(
    "options",
    [
        {}, {"rule": "adam"}, {"rule": "adagrad", "max_history": 1}, {"group": "global"},
        {"weights": "gradients", "first_gradients": 2},
    ],
)  # fmt: skip
def test_a_saved_state_goes_on_bit_for_bit(options: Any) -> None:
    def gradient(step: int) -> Tensor:
        return torch.randn(5, generator=torch.Generator().manual_seed(step))

    p = torch.nn.Parameter(torch.ones(5))
    optimizer = TAG([p], lr=0.01, **options)
    saved: Any = None
    for step in range(20):
        if step == 13:  # in the middle of the third task
            saved = copy.deepcopy((p, optimizer.state_dict()))
        p.grad = gradient(step)
        optimizer.step()
        if step % 5 == 4:
            optimizer.end_task()
    q, state = saved
    again = TAG([q], lr=0.01, **options)
    again.load_state_dict(state)
    for step in range(13, 20):
        q.grad = gradient(step)
        again.step()
        if step % 5 == 4:
            again.end_task()
    assert torch.equal(p, q)


def test_missing_gradients_leave_a_parameter_and_its_moments_alone() -> None:
    p, q = vector(1, -2), vector(3)
    optimizer = TAG([p, q], lr=0.1)
    p.grad = torch.ones(2, dtype=torch.double)
    optimizer.step()
    assert q.item() == 3
    assert q not in optimizer.state
    optimizer.end_task()
    for parameter in (p, q):  # q joins in the second task, for which it has no history
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert 3 - q.item() == pytest.approx(0.1 / math.sqrt(0.01 * math.exp(-5)), rel=1e-5)


def test_a_head_of_its_own_moves_as_columns_of_one_matrix() -> None:
    """Its gradient is none in other tasks, theirs is zero."""
    matrix, heads = vector(1, -2), [vector(1), vector(-2)]
    one, other = TAG([matrix], lr=0.1), TAG(heads, lr=0.1)
    for task in (0, 1):
        for step in (1.0, 2.0, -0.5):
            matrix.grad = torch.zeros_like(matrix)
            matrix.grad[task] = step
            heads[task].grad, heads[1 - task].grad = torch.full_like(heads[0], step), None
            one.step()
            other.step()
        one.end_task()
        other.end_task()
    torch.testing.assert_close(torch.cat([head.detach() for head in heads]), matrix.detach())


def test_parameter_groups_have_rates_of_their_own() -> None:
    p, q = vector(1.0), vector(1.0)
    optimizer = TAG([{"params": [p], "lr": 0.1}, {"params": [q]}], lr=0.01)
    for parameter in (p, q):
        parameter.grad = torch.ones(1, dtype=torch.double)
    optimizer.step()
    assert (1 - p.item()) / (1 - q.item()) == pytest.approx(10)


def masked() -> Network:
    network = Network(partial(mlp, (1, 4, 4), [12], init="uniform"), OutputMatrix)
    for task in range(3):
        network.add_task(task, range(4))
    return network


def clusters(task: int, n: int) -> tuple[Tensor, Tensor]:
    """Four noisy clusters, elsewhere for each task."""
    centres = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(task))
    y = torch.arange(n) % 4
    return centres[y] + torch.randn(n, 1, 4, 4), y


@pytest.mark.slow
def test_forgets_less_than_rmsprop_at_ten_times_the_rate(tmp_path: Path) -> None:
    """On handwritten digits, two epochs a task, over three seeds."""
    forgotten = {}
    for rule, lr in (("rmsprop", 0.005), ("tag_rmsprop", 0.0005)):
        forgotten[rule] = 0.0
        for seed in (1, 2, 3):
            folder = tmp_path / f"{rule}_{seed}"
            options = [
                "strategy=finetune", "heads=matrix", "data=digits", "epochs=2", "batch_size=10",
                "backbone=mlp256", f"optimizer={rule}", f"lr={lr}", f"seed={seed}",
                "optimizer_lifetime=stream", "logger=none", "trainer=cpu",
            ]  # fmt: skip
            assert execute(folder, *options) == 0
            results = results_of(folder)
            forgotten[rule] += results["metrics"]["forgetting"] / 3
            assert results["metrics"]["final_accuracy"] > 0.8
    assert forgotten["tag_rmsprop"] < 0.7 * forgotten["rmsprop"]
    rows = results["method"]["relatedness"]
    assert [len(rows[str(visit)]) for visit in range(1, 6)] == [0, 1, 2, 3, 4]
    assert all(math.exp(-5) <= weight <= math.exp(5) for row in rows.values() for weight in row)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad, TAG])
def test_columns_of_other_tasks_stay_bit_for_bit(make: Any) -> None:
    network = masked()
    output: Any = network.heads
    optimizer = make(network.parameters(), lr=0.01)
    x, y = clusters(0, 40)
    for task in (0, 1):
        before = output.output.weight.detach().clone()
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(network.logits(x, task), y).backward()
            optimizer.step()
        if task == 0 and make is TAG:
            optimizer.end_task()
    after = output.output.weight.detach()
    assert torch.equal(before[:4], after[:4])
    assert torch.equal(before[8:], after[8:])
    assert not torch.equal(before[4:8], after[4:8])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "sgd"}, r"optimizer\.rule=sgd: give rmsprop or adagrad or adam"),
        ({"b": -1.0}, r"b=-1\.0"),
        ({"group": "layer"}, r"optimizer\.group=layer"),
        ({"step_scope": "run"}, r"optimizer\.step_scope=run"),
        ({"first_gradients": 0}, "first_gradients=0 must be 1 or more"),
        ({"max_history": -1}, "max_history=-1 0 or more"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TAG([vector(1)], **{"lr": 0.1, **options})


@rules
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize("weights", ["cosine", "gradients"])
def test_a_copy_goes_on_as_the_original(rule: Any, how: str, weights: Any) -> None:
    def whole() -> dict[str, Any]:
        p = vector(1, -2)
        return {"p": p, "optimizer": TAG([p], lr=0.1, b=1.0, rule=rule, weights=weights)}

    original = whole()
    run(original["optimizer"], original["p"], HAND)
    clone = copy.deepcopy if how == "deepcopy" else lambda it: pickle.loads(pickle.dumps(it))
    twin = clone(original)
    ends = [run(each["optimizer"], each["p"], HAND) for each in (original, twin)]
    assert ends[0] == ends[1]
    assert twin["optimizer"].report() == original["optimizer"].report()


@pytest.mark.parametrize(
    ("other", "told"),
    [({"rule": "adam"}, "adam, cosine"), ({"weights": "one"}, "rmsprop, one")],
)
def test_refuses_the_state_of_another_rule(other: Any, told: str) -> None:
    p = vector(1, -2)
    theirs = TAG([p], lr=0.1, **other)
    run(theirs, p, HAND)
    ours = TAG([p], lr=0.1)
    with pytest.raises(ValueError, match=f"the state was made with {told}"):
        ours.load_state_dict(theirs.state_dict())
    states = {"p": dict(theirs.state[p])}  # as a checkpoint of a run has it
    with pytest.raises(ValueError, match=f"the state was made with {told}"):
        load_by_name(ours, {"p": p}, states)
    same = TAG([p], lr=0.1, **other)
    same.load_state_dict(theirs.state_dict())


def test_groups_share_the_rule() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.rule=adam: all groups have one, .* rmsprop"):
        TAG([{"params": [vector(1)]}, {"params": [vector(2)], "rule": "adam"}], lr=0.1)


def test_of_tag_all_groups_have_one_rule() -> None:
    params = [{"params": [torch.nn.Parameter(torch.zeros(2))], "rule": "adam"}]
    with pytest.raises(ValueError, match=r"optimizer\.rule=adam: all groups have one"):
        TAG(params, lr=0.1, rule="rmsprop")
