"""Networks of files, measured again."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.finished import evaluate
from tests.finished.released import ORDER, WIDTH, Released, masks_of, normalised


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
