"""A method's rounds: feedback, and resuming between and within them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lifelong.storage.checkpoint import Checkpoint
from tests.conftest import execute, results_of

OPTIONS = [
    "strategy=finetune", "strategy._target_=tests.pruning.Pruning", "data=digits", "tasks=2",
    "batch_size=32", "logger=none", "trainer=cpu", "resume=auto",
]  # fmt: skip


@pytest.mark.parametrize("every", [0, 2])
def test_resuming_between_and_within_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    options = [*OPTIONS, f"checkpoint_every={every}"]
    save = Checkpoint.save
    kinds = []

    def note(self: Checkpoint, folder: Path, keep: str) -> None:
        """And copies what is on the disk, which is what a kill would leave."""
        save(self, folder, keep)
        kinds.append((self.visit, self.finished, len(self.rounds), self.epoch))
        shutil.copytree(folder, tmp_path / f"after_{len(kinds)}")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", note)
        assert execute(tmp_path / "whole", *options) == 0
    inside = [(1, False, 0, 2), (1, False, 1, 2), (1, False, 2, 2), (1, False, 2, 4)]
    between = [(1, False, 1, 0), (1, False, 2, 0), (1, True, 0, 0)]
    assert sorted(k for k in kinds if k[0] == 1) == sorted(between + (inside if every else []))

    expected = results_of(tmp_path / "whole")
    assert len(expected["method"]["losses"]) == 6
    state = torch.load(tmp_path / "whole" / "visit_02.ckpt", weights_only=True)["strategy"]
    for after in range(1, len(kinds) + 1):
        folder = tmp_path / f"after_{after}"
        assert execute(folder, *options) == 0
        assert results_of(folder) == expected
        found = torch.load(folder / "visit_02.ckpt", weights_only=True)["strategy"]
        for key, value in state.items():
            if torch.is_tensor(value):
                assert torch.equal(value, found[key]), (after, key)


LAYERS = {"layer1", "layer2", "layer3", "layer4"}


@pytest.mark.parametrize(
    ("options", "moved"),
    [
        (["strategy=finetune", "backbone.fixed=true"], set()),
        (["strategy=finetune", "backbone.freeze=1"], LAYERS),
        (["strategy=frozen_body"], set()),
        (["strategy=frozen_body", "strategy.blocks=1"], LAYERS),
    ],
)
def test_statistics_of_what_keeps_still_do_so_in_a_run(
    tmp_path: Path, options: list[str], moved: set[str]
) -> None:
    """In the second task; the first block is what stands before the stages of the ResNet."""
    body = ["backbone=timm", "backbone.name=test_resnet", "backbone.options={in_chans:1}"]
    run = ["data=digits", "data.fraction=0.2", "tasks=2", "epochs=1", "logger=none", "trainer=cpu"]
    assert execute(tmp_path, *run, *body, *options) == 0
    first, second = (
        torch.load(tmp_path / f"visit_0{number}.ckpt", weights_only=True)["strategy"]
        for number in (1, 2)
    )
    counts = [key for key in first if key.endswith("num_batches_tracked")]
    assert {key.split(".")[3] for key in counts if first[key] != second[key]} == moved
    if "backbone.fixed=true" in options:
        assert not any(first[key] for key in counts)
