"""Methods that share, freeze, search and prune by layers, over blocks of any body."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lifelong import load_run
from lifelong.backbones import Torchvision
from lifelong.networks import MultiHead
from lifelong.transfer import HardTransferLayer, TransferNetwork, every
from tests.conftest import execute, results_of
from tests.test_contract import assert_resumes

VIT = [
    "data=digits", "tasks=2", "batch_size=32", "data.fraction=0.3", "logger=none", "trainer=cpu",
    "backbone=timm", "backbone.name=vit_tiny_patch16_224",
    "backbone.options={patch_size:4,depth:4,embed_dim:16,num_heads:2}", "epochs=3",
    "checkpoint_every=2", "optimizer=adam", "lr=0.003",
]  # fmt: skip
METHODS = [
    "finetune", "er", "lwf", "mas", "lasem_hps transfer.groups=[2,2]", "darts_hps",
    "hps transfer=bottom2", "frozen_body strategy.blocks=2",
    pytest.param(
        "tickets_bu strategy.prunes=maps strategy.memory=10 strategy.round_epochs=1 "
        "strategy.most_rounds=2",
        marks=pytest.mark.slow,
    ),
]  # fmt: skip


@pytest.mark.parametrize("strategy", METHODS)
def test_methods_resume_bit_equal_on_a_vision_transformer(tmp_path: Path, strategy: str) -> None:
    name, *options = strategy.split()
    whole = assert_resumes(tmp_path, [*VIT, f"strategy={name}", *options], after=2)
    run = load_run(whole)
    assert len(run.predict(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), task=1)) == 5
    if name == "lasem_hps":
        for chosen in run.strategy.network.configs.values():  # type: ignore[operator,union-attr]
            assert chosen[0] == chosen[1]
            assert chosen[2] == chosen[3]


def test_a_search_over_blocks_with_batch_norm_sees_each_configuration_by_itself() -> None:
    """As if every configuration were computed alone; statistics are not of several together."""
    network = TransferNetwork(
        partial(Torchvision, (3, 32, 32), "resnet18"), MultiHead, HardTransferLayer,
        partial(every, groups=[2, 2]),
    )  # fmt: skip
    network.add_task(0, [0, 1])
    network.train()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.0
    x = torch.randn(4, 3, 32, 32)
    together = network.tree_features(x, 0).view(4, 4, -1)
    alone = [network.features(x, 0, config) for config in network.candidates]
    for own, other in zip(together, alone, strict=True):
        torch.testing.assert_close(own, other)


def test_every_block_counts_once_and_is_rolled_back(tmp_path: Path) -> None:
    """A configuration that shares nothing leaves the slots as they were."""
    options = [*VIT, "strategy=hps", "transfer=pattern", "transfer.layers=[1,0,1,0]"]
    assert execute(tmp_path, *options) == 0
    run = load_run(tmp_path)
    layers = run.strategy.network.transfer_layers()  # type: ignore[operator,union-attr]
    assert [layer.in_use for layer in layers] == [True, False, True, False]
    sizes = [sum(p.numel() for p in layer.unit.parameters()) for layer in layers]
    heads = sum(p.numel() for p in run.strategy.network.heads.parameters())  # type: ignore[union-attr]
    assert results_of(tmp_path)["parameters"] == heads + sum(sizes) + sizes[1] + sizes[3]
