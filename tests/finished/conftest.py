"""Runs and files that several files look at."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from tests.conftest import execute
from tests.finished.released import COUNTS, ORDER, WIDTH, Released, masks_of
from tests.finished.small_run import MAS


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("run")
    assert execute(made, *MAS, "keep=all") == 0
    return made


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pickles {class: uint8 (n, 32, 32, 3)}, exemplars among the training images, and a pool."""
    folder = tmp_path_factory.mktemp("authors")
    draw = np.random.default_rng(0)
    for part, count in COUNTS.items():
        found = {
            label: draw.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8) for label in range(10)
        }
        (folder / f"cifar10_{part}.pkl").write_bytes(pickle.dumps(found))
        if part == "train":
            saved = {label: images[[1, 4]] for label, images in found.items()}
            (folder / "cifar10_save.pkl").write_bytes(pickle.dumps(saved))
    pool = {"data": draw.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8), "label": np.arange(40)}
    (folder / "cifar10_80m_150k.pkl").write_bytes(pickle.dumps(pool))
    np.savetxt(folder / "class_order.txt", np.array(ORDER))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Released, Path]:
    """A pruned network and its checkpoint, an optimizer object in it, as the program saves them."""
    torch.manual_seed(5)
    network = Released()
    network.train()
    network(torch.randn(64, 3, 32, 32), 5)  # running means of its own
    prune.global_unstructured(network.convolutions(), prune.L1Unstructured, amount=0.6)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    network(torch.randn(8, 3, 32, 32), 5).sum().backward()
    optimizer.step()
    path = tmp_path_factory.mktemp("checkpoint") / "task5_best_model.pt"
    content = {"epoch": 3, "state_dict": network.state_dict(), "optimizer": optimizer}
    torch.save(content, path)
    return network.eval(), path


@pytest.fixture(scope="session")
def runs(
    data: Path, checkpoint: tuple[Released, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A dense run on the files, and the checkpoint's network trained once more in its place."""
    network, path = checkpoint
    folder = tmp_path_factory.mktemp("runs")
    masks_of(network, folder / "mask-2.pt")
    options = [
        "data=cil_cifar10", f"data.classes={data / 'class_order.txt'}", "data.tasks=5",
        f"paths.data_dir={data}", f"backbone.width={WIDTH}", "epochs=1", "batch_size=8",
        "logger=none", "unlabeled=npz", f"unlabeled_file={data / 'cifar10_80m_150k.pkl'}",
    ]  # fmt: skip
    dense = ["strategy=cil", "tasks=2", f"strategy.exemplars={data / 'cifar10_save.pkl'}"]
    assert execute(folder / "dense", *options, *dense, "strategy.neighbours=3") == 0
    again = ["strategy=retrain", f"strategy.run={folder / 'dense'}", "strategy.visit=2"]
    again += [f"strategy.mask={folder / 'mask-2.pt'}", f"strategy.start={path}"]
    assert execute(folder / "again", *options, *again) == 0
    return {"dense": folder / "dense", "again": folder / "again", "masks": folder / "mask-2.pt"}
