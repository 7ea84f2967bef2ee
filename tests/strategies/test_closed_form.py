"""NCM and RanPAC against numpy and scikit-learn."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid
from torch import Tensor, nn

from lifelong import NCM, MultiHead, Network, RanPAC, TaskStream, by_class
from lifelong.data.sources import digits
from lifelong.strategies.closed_form import ClosedForm
from lifelong.strategies.ranpac import RIDGES, of_ridges, solved
from tests.conftest import small_body

SGD = partial(torch.optim.SGD, lr=0.1)


def stream(**options: Any) -> TaskStream:
    return by_class(digits(), tasks=5, validation=0.0, batch_size=32, fraction=0.2, **options)


def learned(kind: type[ClosedForm], made: TaskStream, **options: Any) -> ClosedForm:
    torch.manual_seed(0)
    from lifelong import mlp

    method = kind(Network(partial(mlp, (1, 8, 8), [20]), MultiHead), SGD, **options)
    for visit in made:
        method.begin_task(visit)
        assert list(method.rounds(visit)) == []
        method.end_task(visit, made.loader(visit.train))
    return method.eval()


def seen(method: ClosedForm, made: TaskStream, part: str) -> tuple[Any, Any]:
    """Features and class numbers of all tasks, as arrays."""
    features, numbers = [], []
    with torch.no_grad():
        for task in made.tasks:
            images = getattr(task, part)
            batch = images[torch.arange(len(images))]
            features.append(method.network.body(batch.x))
            numbers.append(method.class_of(batch))
    return torch.cat(features).numpy(), torch.cat(numbers).numpy()


@pytest.mark.parametrize("kind", [NCM, partial(RanPAC, projections=40)])
def test_scores_have_the_digits_of_what_was_learned(kind: Any) -> None:
    """Cosines near 1 and sums of many products are not told apart by the 8 bits of bfloat16."""
    made = stream()
    method = learned(kind, made)
    task = made.tasks[3].test
    x = task[torch.arange(len(task))].x
    features = method.network.body(x).to(torch.bfloat16)
    method.network.body = Given(features)
    expected = method.predict(x).scores
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.predict(x).scores, expected)


class Given(nn.Module):
    """Whatever the images are."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.given, self.features = features, features.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.given


def test_small_ridges_are_not_lost_in_rounding() -> None:
    """In 32 bits the sums of products differ by more than such a ridge."""
    torch.manual_seed(0)
    method = RanPAC(Network(small_body((1, 8, 8)), MultiHead), SGD, projections=400)
    method.ridge, method.numbers = 1e-8, [0, 1]
    features, labels = torch.rand(60, method.network.body.features), torch.arange(60) % 2
    method.learn(features, labels)
    h = np.maximum(features.double().numpy() @ method.projection.double().numpy(), 0)
    y = np.eye(2)[labels.numpy()]
    dual = h.T @ np.linalg.solve(h @ h.T + 1e-8 * np.eye(60), y)
    asked = torch.rand(20, method.network.body.features)
    wanted = np.maximum(asked.double().numpy() @ method.projection.double().numpy(), 0) @ dual
    found = method.scores(asked.double())
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_nearest_mean_is_that_of_scikit_learn(distance: str) -> None:
    made = stream()
    method = learned(NCM, made, distance=distance)
    x, y = seen(method, made, "train")
    asked, _ = seen(method, made, "test")
    means = np.stack([x[y == label].mean(0) for label in range(10)])
    if distance == "cosine":
        unit = asked / np.linalg.norm(asked, axis=1, keepdims=True)
        scores = unit @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    else:
        scores = -0.5 * np.square(asked[:, None] - means[None]).sum(2)
        expected = NearestCentroid().fit(x, y).predict(asked)
        assert (scores.argmax(1) == expected).all()
    found = method.scores(torch.from_numpy(asked))
    np.testing.assert_allclose(found.detach(), scores, rtol=1e-4, atol=1e-4)


def test_the_regression_is_ridge_regression_over_all_images() -> None:
    made = stream()
    method = learned(RanPAC, made, projections=50, ridge=3.0)
    x, y = seen(method, made, "train")
    asked, _ = seen(method, made, "test")
    drawn = method.projection.numpy()
    h, wanted = np.maximum(x @ drawn, 0), np.eye(10)[y]
    ridge = Ridge(alpha=3.0, fit_intercept=False).fit(h.astype(np.float64), wanted)
    expected = ridge.predict(np.maximum(asked @ drawn, 0).astype(np.float64))
    np.testing.assert_allclose(method.scores(torch.from_numpy(asked)), expected, atol=1e-4)
    assert method.method["ridge"] == dict.fromkeys("12345", 3.0)


def test_the_ridge_is_the_best_one_on_a_part_of_the_latest_task() -> None:
    made = stream()
    method = learned(RanPAC, made, projections=50)
    images = made.tasks[-1].train
    batch = images[torch.arange(len(images))]
    with torch.no_grad():
        h = method.projected(method.network.body(batch.x)).double()
    y = torch.nn.functional.one_hot(method.class_of(batch), 10).double()
    ridge = method.chosen(h, y)
    assert ridge == method.method["ridge"]["5"]
    for other in (ridge / 10, ridge * 10):  # by hand, with scikit-learn
        assert _error(method, h, y, ridge) <= _error(method, h, y, other)


@pytest.mark.parametrize("images", [30, 80])
def test_all_ridges_by_one_decomposition_are_solved_one_by_one(images: int) -> None:
    torch.manual_seed(0)
    h, y, asked = (torch.randn(n, k).double() for n, k in ((images, 50), (images, 3), (7, 50)))
    for ridge, found in zip(RIDGES, of_ridges(h, y, asked), strict=True):
        if ridge > 1e-5:
            expected = asked @ solved(h.T @ h, h.T @ y, ridge)
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def _error(method: Any, h: torch.Tensor, y: torch.Tensor, ridge: float) -> float:
    from lifelong.data.seeds import derive

    generator = torch.Generator().manual_seed(derive(method.seed, "ridge", 5))
    order = torch.randperm(len(h), generator=generator)
    cut = round(0.8 * len(h))
    fitted = Ridge(alpha=ridge, fit_intercept=False).fit(h[order[:cut]], y[order[:cut]])
    return float(np.square(fitted.predict(h[order[cut:]]) - y[order[cut:]].numpy()).mean())


@pytest.mark.parametrize(
    "options", [{"kind": NCM}, {"kind": RanPAC, "projections": 50, "ridge": 1.0}]
)
def test_the_order_of_tasks_does_not_matter(options: dict[str, Any]) -> None:
    answers = []
    for order in ([1, 2, 3, 4, 5], [4, 2, 5, 1, 3, 2]):  # a task that comes again is known
        made = stream(order=order)
        method = learned(made=made, **options)
        images = made.tasks[2].test
        batch = images[torch.arange(len(images))]
        with torch.no_grad():
            answers.append([method.predict(batch.x, t).answer() for t in (None, batch.t)])
        assert set(answers[-1][1].tolist()) <= set(made.tasks[2].classes)
    assert all(map(torch.equal, *answers))


def test_refuses() -> None:
    network = Network(small_body(), MultiHead)
    with pytest.raises(ValueError, match=r"strategy\.projections=-1"):
        RanPAC(network, SGD, projections=-1)
    with pytest.raises(ValueError, match=r"strategy\.ridge=0"):
        RanPAC(network, SGD, ridge=0)
