"""Features of fixed bodies, asked once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lifelong.backbones import Wrapped
from lifelong.training import assembly
from lifelong.training.features import ASKED
from tests.conftest import execute, results_of

BODY = [
    "data=digits", "data.fraction=0.3", "tasks=2", "epochs=2", "optimizer=adam", "lr=0.01",
    "logger=none", "trainer=cpu", "backbone=timm", "backbone.name=test_resnet",
    "backbone.options={in_chans:1}", "backbone.fixed=true",
]  # fmt: skip


@pytest.mark.parametrize(
    "strategy",
    ["er", "er strategy.joint_batch=true", "derpp strategy.joint_batch=true", "agem", "joint"],
)
def test_a_run_on_kept_features_is_that_on_images(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body is asked for each image once, and for a few where features are kept."""
    options = [*BODY, *f"strategy={strategy}".split(), f"paths.data_dir={tmp_path}"]
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
    assert counts[1] == 6 * ASKED  # memories keep features, too
    assert strategy != "joint" or counts[0] == images


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


def test_another_forward_over_the_same_weights_has_other_features(tmp_path: Path) -> None:
    """Also where nothing that can be told of the body is another."""
    options = [
        *BODY[:-3], "backbone=module", "backbone.fixed=true", "backbone.cache=true",
        "strategy=finetune", "backbone.module._target_=tests.training.test_features.Pooled",
        f"paths.data_dir={tmp_path}",
    ]  # fmt: skip
    found = []
    for how in ("mean", "max", "mean"):
        assert execute(tmp_path / str(len(found)), *options, f"+backbone.module.how={how}") == 0
        found.append(results_of(tmp_path / str(len(found)))["accuracy"])
    assert found[0] == found[2] != found[1]
    assert len(list((tmp_path / ".cache").glob("features-*.npy"))) == 12
    Pooled.sign = -1
    try:
        assert execute(tmp_path / "edited", *options, "+backbone.module.how=mean") == 0
    finally:
        Pooled.sign = 1
    assert results_of(tmp_path / "edited")["accuracy"] != found[0]


class Pooled(nn.Module):
    """Of rows, by a word that its text does not show; `sign` stands for an edited source."""

    sign = 1

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.sign * (x.mean(2) if self.how == "mean" else x.amax(2)).flatten(1)


@pytest.mark.parametrize("augment", ["none", "pad"])
def test_transforms_are_known_again(tmp_path: Path, augment: str) -> None:
    options = [*BODY, "strategy=finetune", "backbone.cache=true", f"paths.data_dir={tmp_path}"]
    side = 8 if augment == "none" else 12
    options += [f"augment={augment}", "epochs=1", f"backbone.shape=[1,{side},{side}]"]
    for number in range(2):
        assert execute(tmp_path / str(number), *options) == 0
    assert len(list((tmp_path / ".cache").glob("features-*.npy"))) == 6


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
