"""Files of Lifelong Tickets' released program and of torch.nn.utils.prune, read and written.

The network here is written after the specification alone, under the names of that program.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lifelong import load_run, load_ticket
from lifelong.parts.state_files import authors, ours
from tests.conftest import execute, results_of
from tests.finished.released import WIDTH, Released


def test_names_map_one_to_one(checkpoint: tuple[Released, Path]) -> None:
    network, path = checkpoint
    names = [name.removesuffix("_orig").removesuffix("_mask") for name in network.state_dict()]
    assert [authors(ours(name)) for name in names] == names
    assert all(ours(name) != name for name in names)
    assert load_ticket(path).remaining == pytest.approx(0.4, abs=1e-4)


def test_streams_exemplars_and_pools_of_the_program(data: Path, runs: dict[str, Path]) -> None:
    results = results_of(runs["dense"])
    assert results["images"]["train"] == [12, 12]
    assert results["images"]["val"] == [4, 4]
    assert results["images"]["test"] == [60, 60]
    run = load_run(runs["dense"])
    assert [task.classes for task in run.tasks.values()] == [(9, 8), (7, 1)]
    strategy: Any = run.strategy
    assert strategy.kept.tasks.bincount().tolist() == [4, 4]
    assert strategy.method["selected"] == {"1": 12}


def test_a_ticket_of_the_program_is_trained_once_more(
    checkpoint: tuple[Released, Path], runs: dict[str, Path]
) -> None:
    network, _ = checkpoint
    strategy: Any = load_run(runs["again"]).strategy
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            ours_ = strategy.network.state_dict()[ours(f"{name}.weight")]
            start = strategy.start[ours(f"{name}.weight")]
            assert not ours_[module.weight_mask == 0].any()
            assert torch.equal(start, module.weight_orig * module.weight_mask)
            assert not torch.equal(ours_, start)


def test_foreign_exemplars_are_refused(data: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(
        pickle.dumps({label: np.zeros((1, 32, 32, 3), np.uint8) for label in range(10)})
    )
    options = ["data=cil_cifar10", f"paths.data_dir={data}", f"backbone.width={WIDTH}"]
    options += ["unlabeled=none", f"strategy.exemplars={path}", "strategy=cil", "batch_size=8"]
    options += ["tasks=2"]
    assert execute(tmp_path / "run", *options) == 2
    assert "2 of its 2 images of task 1 are not among the training" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["0 1 2", "a b", "0 " * 10])
def test_orders_that_are_none_are_refused(
    data: Path, tmp_path: Path, content: str, capsys: Any
) -> None:
    (tmp_path / "order.txt").write_text(content)
    options = ["data=cil_cifar10", f"paths.data_dir={data}", "strategy=cil", "data.tasks=5"]
    options += ["batch_size=8", f"backbone.width={WIDTH}", "unlabeled=none"]
    assert execute(tmp_path / "run", *options, f"data.classes={tmp_path / 'order.txt'}") == 2
    assert f"data.classes={tmp_path / 'order.txt'}: " in capsys.readouterr().err
