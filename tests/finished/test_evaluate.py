"""Networks of files, measured again."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from lifelong.data import TaskStream
from lifelong.finished import evaluate
from lifelong.storage.files import SEAL, sealed
from lifelong.storage.results import CONFIG, checksum
from tests.conftest import execute
from tests.finished.released import ORDER, WIDTH, Released, masks_of, normalised
from tests.finished.small_run import OPTIONS


@pytest.mark.parametrize("stage", [1, 3, 5])
def test_a_checkpoint_is_measured(
    data: Path, checkpoint: tuple[Released, Path], stage: int, capsys: Any
) -> None:
    network, path = checkpoint
    given = [f"file={path}", "data=cil_cifar10", f"backbone.width={WIDTH}", f"data_dir={data}"]
    assert evaluate.main([*given, f"visit={stage}"]) == 0
    told = capsys.readouterr().out
    test = pickle.loads((data / "cifar10_test.pkl").read_bytes())
    some: list[bool] = []
    for task in range(stage):
        right: list[bool] = []
        for place in (2 * task, 2 * task + 1):
            answers = network(normalised(test[ORDER[place]]), stage).argmax(1)
            right += (answers == place).tolist()
        some.append(0 < np.mean(right) < 1)
        assert re.search(rf"task {task + 1} +{100 * np.mean(right):.2f} %", told)
    assert any(some)
    assert re.search(r"weights remaining +40\.00 %", told)


def test_what_does_not_fit_is_refused(
    data: Path, checkpoint: tuple[Released, Path], tmp_path: Path, capsys: Any
) -> None:
    network, path = checkpoint
    masks_of(network, tmp_path / "mask.pt")
    (tmp_path / "text.pt").write_text("nothing")
    for file, width, message in (
        (path, 16, "does not fit the backbone and heads"),
        (tmp_path / "mask.pt", WIDTH, "holds masks and no weights"),
        (tmp_path / "text.pt", WIDTH, "not a file of weights"),
        (tmp_path / "none.pt", WIDTH, "no such file"),
    ):
        given = [f"file={file}", "data=cil_cifar10", f"backbone.width={width}", f"data_dir={data}"]
        assert evaluate.main(given) == 2
        assert message in capsys.readouterr().err


def test_nothing_that_a_strangers_run_refers_to_is_run(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    """References are followed before it is asked what may be built, and by no other way after."""
    there = shutil.copytree(folder, tmp_path / "run")
    config = OmegaConf.load(there / "config.yaml")
    trace = tmp_path / "trace"
    config.source_options = {"of": "lifelong.data.transforms.Flip"}
    config.data = {
        "_target_": "lifelong.data.hf", "path": "none", "name": "none", "shape": [1, 8, 8],
        "data_dir": str(tmp_path), "tasks": 3, "batch_size": 32, "download": False,
        "source_options": {"of": "torch.save"},
        "train_transform": {"_target_": "${source_options.of}", "_args_": [[], str(trace)]},
    }  # fmt: skip
    OmegaConf.save(config, there / "config.yaml")
    results = json.loads((there / "results.json").read_text())
    results = {key: value for key, value in results.items() if key != SEAL}
    results[CONFIG] = checksum(there / "config.yaml")
    (there / "results.json").write_text(json.dumps(sealed(results)))
    assert evaluate.main([f"run={there}"]) == 2
    assert not trace.exists()
    capsys.readouterr()


def test_other_images_than_the_run_s_are_told_and_no_others(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("test", "validation"):
        folder = tmp_path / name
        assert execute(folder, *OPTIONS, "tasks=1", "epochs=1", f"measure_on={name}") == 0
        capsys.readouterr()
        assert evaluate.main([f"run={folder}"]) == 0
        assert "note: the images" not in capsys.readouterr().out
    monkeypatch.setattr(TaskStream, "checksum", lambda self: 1)
    assert evaluate.main([f"run={tmp_path / 'test'}"]) == 0
    assert "note: the images have another checksum than" in capsys.readouterr().out
