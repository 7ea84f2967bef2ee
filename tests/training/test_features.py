"""Features of fixed bodies, asked once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lifelong.backbones import Wrapped
from lifelong.training import assembly
from tests.conftest import execute, results_of

BODY = [
    "data=digits", "data.fraction=0.3", "tasks=2", "epochs=2", "optimizer=adam", "lr=0.01",
    "logger=none", "trainer=cpu", "backbone=timm", "backbone.name=test_resnet",
    "backbone.options={in_chans:1}", "backbone.fixed=true",
]  # fmt: skip


@pytest.mark.parametrize("strategy", ["er", "joint"])
def test_a_run_on_kept_features_is_that_on_images(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body is asked for no image of the stream twice, and for none where features are kept."""
    options = [*BODY, f"strategy={strategy}", f"paths.data_dir={tmp_path}"]
    assert execute(tmp_path / "images", *options) == 0
    expected = results_of(tmp_path / "images")["accuracy"]
    asked = []
    forward = Wrapped.forward

    def counted(self: Wrapped, x: object) -> object:
        asked.append(len(x) if x.dim() == 4 else 0)  # type: ignore[attr-defined,arg-type]
        return forward(self, x)  # type: ignore[arg-type]

    monkeypatch.setattr(Wrapped, "forward", counted)
    counts = []
    for name in ("first", "second"):
        asked.clear()
        assert execute(tmp_path / name, *options, "backbone.cache=true") == 0
        counts.append(sum(asked))
        assert results_of(tmp_path / name)["accuracy"] == expected
    files = list((tmp_path / ".cache").glob("features-*.npy"))
    images = sum(len(np.load(file)) for file in files)
    assert len(files) == 6
    assert counts[0] - counts[1] == images
    assert strategy == "er" or counts[1] == 0  # a memory has pixels


def test_they_are_computed_where_the_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `trainer=cpu` not on the GPU of the machine."""
    compute = assembly.cache_features

    def beside_a_gpu(*given: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            compute(*given)

    monkeypatch.setattr(assembly, "cache_features", beside_a_gpu)
    options = [*BODY, "strategy=finetune", "backbone.cache=true", f"paths.data_dir={tmp_path}"]
    assert execute(tmp_path / "run", *options) == 0


def test_other_weights_are_other_features(tmp_path: Path) -> None:
    options = [*BODY, "strategy=finetune", "backbone.cache=true", f"paths.data_dir={tmp_path}"]
    for number, seed in enumerate((1, 2, 1)):
        assert execute(tmp_path / str(number), *options, f"seeds.init={seed}") == 0
    assert len(list((tmp_path / ".cache").glob("features-*.npy"))) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["backbone.fixed=false"], "give backbone.fixed=true"),
        (["augment=flip"], "the training images are augmented anew in every epoch"),
    ],
)
def test_features_that_would_be_wrong_are_refused(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(tmp_path, *BODY, "backbone.cache=true", *options, "strategy=finetune") == 2
    assert message in capsys.readouterr().err
