"""What a GPU must do, where there is one: `pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.strategies import recorded
from tests.conftest import configured, execute, results_of, state_of
from tests.strategies.test_recorded import CAPTURABLE, UPDATED
from tests.test_contract import FAST, STRATEGIES, VARIANTS, alike, assert_resumes, chosen

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore:.*ttention defaults to a non-deterministic:UserWarning"),
]
EVERY = [*STRATEGIES, *VARIANTS]
SHORT = [*FAST, "tasks=2", "epochs=2"]


def distance(one: Any, other: Any) -> float:
    """The largest difference between the numbers of two states, by their size."""
    if torch.is_tensor(one):
        a, b = one.double().cpu(), other.double().cpu()
        return float(((a - b).abs() / (1 + b.abs())).max()) if a.numel() else 0.0
    if isinstance(one, dict):
        return max((distance(one[key], other[key]) for key in one), default=0.0)
    return 0.0


@pytest.mark.parametrize("strategy", EVERY)
def test_resumes_bit_equal_on_the_gpu(tmp_path: Path, strategy: str) -> None:
    options = [*SHORT, "epochs=3", "checkpoint_every=2", "trainer=gpu", *chosen(strategy)]
    assert_resumes(tmp_path, options, after=2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gpu_and_cpu_learn_the_same(tmp_path: Path, strategy: str) -> None:
    """In 64 bits; what is drawn is drawn on the CPU, but for dropout."""
    options = [*SHORT, *chosen(strategy), "trainer.precision=64-true"]
    options += ["heads.dropout=0"] if "heads" in configured(*options) else []
    made = [tmp_path / "cpu", tmp_path / "gpu"]
    assert execute(made[0], *options) == 0
    assert execute(made[1], *options, "trainer=gpu") == 0
    assert distance(*map(state_of, made)) < 1e-6


@pytest.mark.parametrize(
    "given", [*(" ".join(chosen(strategy)) for strategy in CAPTURABLE), *UPDATED]
)
def test_recorded_steps_are_those_that_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """Their updates, too, where these are alike."""
    monkeypatch.setattr(recorded, "SAME", 3)
    options = [*SHORT, "batch_size=8", "trainer=gpu", *given.split()]
    computed, replayed = tmp_path / "computed", tmp_path / "replayed"
    assert execute(computed, *options) == 0
    assert execute(replayed, *options, "trainer.cuda_graphs=true") == 0
    assert distance(state_of(replayed), state_of(computed)) < 1e-4
    assert alike(results_of(computed)["accuracy"], results_of(replayed)["accuracy"])
