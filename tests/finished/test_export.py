"""Runs and their tickets as files of other programs."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from lifelong import load_run, load_ticket
from lifelong.finished import export
from tests.conftest import execute, results_of
from tests.finished.released import ORDER, Released, normalised
from tests.finished.small_run import MAS, OPTIONS, images


@pytest.mark.parametrize("heads", ["multi", "matrix"])
def test_the_exported_layout_holds_the_same_network(
    folder: Path, tmp_path: Path, heads: str
) -> None:
    if heads == "matrix":
        folder = tmp_path / "matrix"
        assert execute(folder, *MAS, "heads=matrix") == 0
    assert export.main([str(folder), str(tmp_path / "out")]) == 0
    models = tmp_path / "out" / "models"
    run = load_run(folder)
    shared = torch.load(models / "shared_model.pth", weights_only=True)
    body = run.body
    with torch.no_grad():
        for p in body.parameters():
            p.zero_()
    body.load_state_dict({name.removeprefix("tmodel."): value for name, value in shared.items()})
    again = load_run(folder)
    for task in range(3):
        head = torch.load(models / f"Task_{task + 1}" / "head.pth", weights_only=True)
        test = images(run, task)
        with torch.no_grad():
            features = body(test[torch.arange(len(test))].x)
        hidden = [key.split(".")[1] for key in head if key.startswith("hidden.")]
        for number in sorted(set(hidden), key=int):
            weight, bias = (head[f"hidden.{number}.{part}"] for part in ("weight", "bias"))
            features = torch.relu(features @ weight.T + bias)
        scores = features @ head["fc.weight"].T + head["fc.bias"]
        torch.testing.assert_close(scores, again.scores(test.x, task))
        assert (models / f"Task_{task + 1}" / "classes.txt").read_text() == "2\n"
        kept = float((models / f"Task_{task + 1}" / "performance.txt").read_text())
        assert kept == results_of(folder)["accuracy"][task][task]
    with (models / "reg_params.pickle").open("rb") as file:
        kept = pickle.load(file)  # as the released program's loader does
    assert kept.keys() == shared.keys()
    for name, value in again.importances.items():
        exported = kept["tmodel." + name.removeprefix("body.")]
        assert torch.equal(exported["omega"], value)
        assert torch.equal(exported["init_val"], again.strategy.anchor.weight(name))


def test_export_refuses(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([]) == 2
    assert capsys.readouterr().err.startswith("error: give the folder of a run, and")
    assert export.main([str(tmp_path / "nothing"), str(tmp_path / "out")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    other = tmp_path / "hps"
    assert execute(other, *OPTIONS, "strategy=hps", "tasks=1", "epochs=1") == 0
    assert export.main([str(other), str(tmp_path / "out")]) == 2
    assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert export.main([str(folder), str(tmp_path / "out")]) == 0
    assert export.main([str(folder), str(tmp_path / "out")]) == 2
    assert "is there already" in capsys.readouterr().err


def test_exports(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    for form in ("state", "prune", "release", "onnx"):
        given = ["ticket=true", str(runs["again"]), str(tmp_path / form), f"as={form}"]
        assert export.main(given) == 0
    run = load_run(runs["again"])
    strategy: Any = run.strategy
    test = pickle.loads((data / "cifar10_test.pkl").read_bytes())
    pixels = np.concatenate([test[label] for label in ORDER[:4]])
    with torch.no_grad():
        x = normalised(pixels)
        wanted = torch.cat(strategy.network.main_scores(strategy.network.body(x), [0, 1]), 1)
    state = torch.load(tmp_path / "state")
    plain = {n: v for n, v in strategy.network.state_dict().items() if torch.is_tensor(v)}
    assert state.keys() == plain.keys()
    assert all(torch.equal(state[name], value) for name, value in plain.items())

    released = Released()
    prune.global_unstructured(released.convolutions(), prune.L1Unstructured, amount=0.1)
    missing, unexpected = released.load_state_dict(torch.load(tmp_path / "release"), strict=False)
    assert not unexpected
    assert all(re.match(r"linear(_main)?\.[234]\.", name) for name in missing)
    with torch.no_grad():
        torch.testing.assert_close(released.eval()(x, 2), wanted)

    pruned = torch.load(tmp_path / "prune")
    assert torch.equal(pruned["body.stem.weight_mask"] != 0, strategy.masks.keep["stem.weight"])
    again = load_ticket(tmp_path / "prune")
    assert again.mask["kept"] == strategy.masks.kept()

    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx"))
    for count in (12, 5):
        images = pixels[:count].transpose(0, 3, 1, 2).astype(np.float32)
        scores = session.run(None, {"images": images})[0]
        np.testing.assert_allclose(scores, wanted[:count].numpy(), rtol=1e-4, atol=1e-4)
