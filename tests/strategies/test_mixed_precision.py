"""Gradients under a scaler: what methods do with them is as in 32 bits, to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lifelong.storage.checkpoint import finished_visits, read
from tests.conftest import execute

OPTIONS = ["data=digits", "tasks=2", "epochs=3", "batch_size=32", "logger=none", "trainer=cpu"]
OPTIONS += ["heads=multi", "keep=all"]
SGD = ["optimizer=sgd", "lr=0.001"]


def moved(folder: Path, *options: str) -> float:
    """How far the second task moved the body."""
    assert execute(folder, *OPTIONS, *options) == 0
    one, two = (read(path).strategy for path in finished_visits(folder).values())
    names = [name for name in one if name.startswith("network.body.")]
    return float(torch.cat([(two[name] - one[name]).flatten() for name in names]).norm())


def test_a_penalty_pulls_as_hard_under_a_scaler(tmp_path: Path) -> None:
    held = ["strategy=l2", *SGD, "strategy.strength=200"]
    whole = moved(tmp_path / "32", *held)
    half = moved(tmp_path / "16", *held, "trainer.precision=16-mixed")
    free = moved(tmp_path / "free", *held, "strategy.strength=0")
    assert half == pytest.approx(whole, rel=0.2)
    assert half < 0.6 * free


def test_importances_of_the_path_are_of_gradients_without_their_scale(tmp_path: Path) -> None:
    sums = []
    for name, precision in (("32", "32-true"), ("16", "16-mixed")):
        options = ["strategy=si", "optimizer=sgd", "lr=0.05", "strategy.strength=1"]
        moved(tmp_path / name, *options, f"trainer.precision={precision}")
        last = read(finished_visits(tmp_path / name)[1]).strategy
        found = torch.cat([v.flatten() for k, v in last.items() if "importance" in k])
        assert found.isfinite().all()
        sums.append(float(found.sum()))
    assert sums[1] == pytest.approx(sums[0], rel=0.2)


def test_tag_gathers_squares_of_gradients_without_their_scale(tmp_path: Path) -> None:
    sums = []
    for name, precision in (("32", "32-true"), ("16", "16-mixed")):
        options = ["strategy=finetune", "optimizer=tag_rmsprop", "lr=0.0005"]
        moved(tmp_path / name, *options, f"trainer.precision={precision}")
        saved = read(finished_visits(tmp_path / name)[2]).with_rows(tmp_path / name).optimizer
        assert saved is not None
        sums.append(sum(float(state["squares"].sum()) for state in saved.values() if state))
    assert 0.1 < sums[1] / sums[0] < 10  # the square of the scale is 2^32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["strategy=agem", "trainer.precision=16-mixed"], "AGEM cannot do that"),
        (["strategy=mas", "trainer.precision=bf16-true"], "MAS cannot do that: importances and"),
    ],
)
def test_refusals(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(tmp_path, *OPTIONS, *options) == 2
    assert message in capsys.readouterr().err
