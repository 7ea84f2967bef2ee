"""What several tests need: small networks, toy streams, the command line."""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from lifelong import run
from lifelong.backbones import convnet
from lifelong.configuration.compose import composed, register
from lifelong.data import Images, Task, Visit
from lifelong.networks import MultiHead
from lifelong.report import page
from lifelong.storage.checkpoint import latest
from lifelong.transfer import (
    DeconvolvedTransferLayer,
    HardTransferLayer,
    Pattern,
    TensorFactoredTransferLayer,
    TransferNetwork,
)
from tests.processes import Command

register()


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's page takes a third of its time here; it is drawn where a test asks for it."""
    if "page" not in request.keywords:
        monkeypatch.setattr(page, "write_report", lambda *given, **options: None)


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power: a file need not be on the disk for a killed process to find it.

    A small run waits a tenth of its time for that; processes of their own do as ever.
    """
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def small_body(shape: tuple[int, int, int] = (2, 6, 6), depth: int = 4) -> Callable[[], object]:
    """Makes bodies of `depth` small layers."""
    channels = [3, 4, 3, 4, 3, 4, 3, 4][:depth]
    pools = [1, 2] * (depth // 2) + [1] * (depth % 2)
    return partial(convnet, shape, channels, pools)


KINDS: dict[str, Any] = {
    "hard": HardTransferLayer,
    "tensor_factored": TensorFactoredTransferLayer,
    "deconvolved": partial(DeconvolvedTransferLayer, sizes=[(2, 3, 3, 4)] * 8),
}


def transfer_network(
    pattern: Pattern, body: object = None, dropout: float = 0.0, kind: str = "hard"
) -> TransferNetwork:
    """A small transfer network without tasks."""
    heads = partial(MultiHead, hidden=[5], dropout=dropout)
    return TransferNetwork(body or small_body(), heads, KINDS[kind], pattern)


def images(n: int, shape: tuple[int, ...] = (2, 6, 6), classes: int = 3, task: int = 0) -> Images:
    """Random images whose mean tells their class."""
    y = torch.arange(n) % classes
    x = torch.randn(n, *shape) + y.view(-1, 1, 1, 1)
    return Images(x, y, torch.full((n,), task))


def toy_task(index: int = 0, n: int = 24) -> Task:
    """A task of three classes."""
    parts = [images(size, task=index) for size in (n, 12, 12)]
    classes = tuple(range(3 * index, 3 * index + 3))
    return Task(index, f"task {index + 1}", classes, *parts)


def toy_visit(index: int = 0, number: int | None = None, last: bool = False, n: int = 24) -> Visit:
    """A visit to such a task."""
    return Visit(index + 1 if number is None else number, toy_task(index, n), last)


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m lifelong.run` in an empty folder, as a user would."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        cache = str(tmp_path / "cache")
        process = Command(tmp_path, *arguments, XDG_CACHE_HOME=cache, WANDB_SILENT="true")
        out, errors = process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, out, errors)

    return run


def configured(*overrides: str) -> DictConfig:
    """A composed configuration."""
    return copy.deepcopy(_composed(*overrides))


@functools.lru_cache(maxsize=64)
def _composed(*overrides: str) -> DictConfig:
    """Composed once: Hydra takes half a second."""
    return composed(overrides)


def execute(folder: Path, *overrides: str) -> int:
    """Runs an experiment in this process; gives the exit status."""
    config = configured(*overrides)
    config.paths.output_dir = str(folder)
    chosen = dict(override.split("=", 1) for override in overrides if "=" in override)
    return run.execute(config, chosen.get("strategy", "lasem_hps"), chosen.get("data", "digits"))


def results_of(folder: Path) -> dict[str, Any]:
    """results.json without times and checksums; its config.yaml has the folder's name."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return {
        key: value
        for key, value in results.items()
        if key not in ("seconds", "seal", "config_checksum", "peak_memory")
    }


def state_of(folder: Path) -> dict[str, Any]:
    """What the newest checkpoint holds of the strategy."""
    saved, _ = latest(folder)
    assert saved is not None
    return saved.strategy


def differences(one: Any, other: Any, path: str = "") -> tuple[list[str], int]:
    """Places where two states are not the same bit for bit; and how many tensors were compared."""
    if torch.is_tensor(one):
        same = torch.is_tensor(other) and one.dtype == other.dtype and torch.equal(one, other)
        return ([] if same else [path]), 1
    if isinstance(one, dict | list | tuple):
        keys = list(one) if isinstance(one, dict) else list(range(len(one)))
        others = list(other) if isinstance(other, dict) else list(range(len(other)))
        if keys != others:
            return [path], 0
        parts = [differences(one[key], other[key], f"{path}/{key}") for key in keys]
        return [text for found, _ in parts for text in found], sum(count for _, count in parts)
    return ([] if one == other else [path]), 0


class Centred(torch.nn.Module):
    """Takes off a mean that runs along, as a normalisation of one's own may."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = self.mean.lerp(x.detach().mean((0, 2, 3))[:, None, None], 0.1)
        return x - self.mean
