"""Drawn tasks with noise and permuted channels (LASEM spec, check 15)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from lifelong.configuration.complete import complete
from lifelong.data import TaskStream, noisy_permuted
from lifelong.data.noisy_permuted import designs
from lifelong.data.sources.source import Source
from tests.conftest import configured

CLASSES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


def small(per_class: int = 500, test: int = 800) -> Source:
    """As many images as STL-10 has, of 2 x 2 pixels."""
    random = np.random.default_rng(0)
    parts = []
    for count in (per_class, test):
        images = random.integers(0, 256, (10 * count, 3, 2, 2), np.uint8)
        parts += [images, np.arange(10 * count) % 10]
    return Source("stl10", *parts, tuple(CLASSES), "made up")


def streamed(*overrides: str, data: str = "stl10", source: Source | None = None) -> TaskStream:
    config = configured(f"data={data}", "strategy=hps", "data.shape=[3,2,2]", *overrides)
    complete(config)
    options = instantiate({k: v for k, v in config.data.items() if k not in ("_target_", "source")})
    return noisy_permuted(source or small(), **options)


@pytest.mark.parametrize(
    ("data", "tasks", "sizes"),
    [("stl10", 20, (318, 57, 2400)), ("stl10_15", 15, (125, 125, 4000))],
)
def test_sizes(data: str, tasks: int, sizes: tuple[int, ...]) -> None:
    stream = streamed(data=data)
    assert len(stream) == tasks
    for task in stream.tasks:
        assert (len(task.train), len(task.val), len(task.test)) == sizes
        assert task.train.y.unique().tolist() == list(range(len(task.classes)))
        x = task.test[torch.arange(len(task.test))].x
        assert x.abs().max() <= 0.5 + 1e-6
    assert len({frozenset(task.classes) for task in stream.tasks}) == tasks


def test_designs() -> None:
    drawn = designs(10, 3, 20, 3, seed=0)
    assert drawn == designs(10, 3, 20, 3, seed=0)
    assert drawn != designs(10, 3, 20, 3, seed=1)
    assert len({frozenset(design.classes) for design in drawn}) == 20
    steps = {round(design.mean / 0.025) for design in drawn}
    assert steps == {-2, -1, 0, 1}
    assert {round(design.deviation / 0.025) for design in drawn} == {0, 1}
    assert all(sorted(design.channels) == [0, 1, 2] for design in drawn)
    assert len({design.channels for design in drawn}) > 3
    assert len(designs(3, 3, 3, 2, seed=0)) == 3  # all there are


def test_noise_and_channels() -> None:
    """Flat images show both: mean and deviation of the noise, and which channel came from where."""
    levels = np.array([60, 120, 180], np.uint8)
    parts: list[Any] = []
    for count in (60, 200):
        parts += [np.broadcast_to(levels[:, None, None], (10 * count, 3, 4, 4)).copy()]
        parts += [np.arange(10 * count) % 10]
    source = Source("stl10", *parts, tuple(CLASSES), "made up")
    stream = streamed("data.shape=[3,4,4]", "data.fraction=1.0", source=source)
    for task, design in zip(stream.tasks, designs(10, 3, 20, 3, seed=0), strict=True):
        x = task.test.x.float()
        for channel, origin in enumerate(design.channels):
            expected = float(levels[origin]) + 255 * design.mean
            assert float(x[:, channel].mean()) == pytest.approx(expected, abs=0.6)
            deviation = float(x[:, channel].std())
            assert deviation == pytest.approx(255 * design.deviation, rel=0.05, abs=0.01)


def test_seeds() -> None:
    one, two = streamed("seed=1"), streamed("seed=2")
    assert [t.classes for t in one.tasks] == [
        t.classes for t in two.tasks
    ]  # the design is the study's
    assert not torch.equal(one.tasks[0].train.x, two.tasks[0].train.x)
    other = streamed("seed=1", "data.design_seed=5")
    assert [t.classes for t in one.tasks] != [t.classes for t in other.tasks]
    fixed = [streamed(f"seed={seed}", "data.release_split=true") for seed in (1, 2)]
    assert fixed[0].checksum() == fixed[1].checksum()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.fraction=0", "data.fraction=0"),
        ("data.validation=1", "data.validation=1"),
        ("data.tasks=121", "data.tasks=121: 10 classes have 120 sets"),
        ("data.classes_per_task=11", "10 classes have 0 sets of data.classes_per_task=11"),
        ("data.shape=[3,4,4]", r"data.shape=\[3, 4, 4\]"),
    ],
)
def test_refuses(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        streamed(override)
