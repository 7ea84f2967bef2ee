"""Networks of timm and torchvision by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from lifelong import load_run
from lifelong.backbones import Timm, Torchvision
from tests.conftest import execute, results_of

SHAPE = (3, 32, 32)
SMALL = "test_vit"  # of timm, for tests


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", [SMALL, "test_resnet", "test_convnext"])
def test_features_are_those_of_timm(name: str) -> None:
    body = Timm(SHAPE, name).eval()
    own = {"img_size": (32, 32)} if name == SMALL else {}
    theirs = timm.create_model(name, num_classes=0, **own).eval()
    theirs.load_state_dict(body.module.state_dict())
    x = torch.randn(2, *SHAPE)
    assert torch.equal(body(x), theirs(x))
    assert body(x).shape == (2, body.features)
    assert Timm((1, 48, 32), name).features == body.features
    assert (
        Timm(SHAPE, f"{name}.r160_in1k").features == body.features
    )  # which weights, by timm's tag


def test_weights_from_files(tmp_path: Path) -> None:
    whole = timm.create_model(SMALL, num_classes=10, img_size=(32, 32))
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "a.pth")
    save_file(whole.state_dict(), tmp_path / "a.safetensors")
    for file in ("a.pth", "a.safetensors"):
        body = Timm(SHAPE, SMALL, str(tmp_path / file))
        assert alike(body.module.state_dict(), whole.state_dict())
    other = torchvision.models.mobilenet_v3_small(num_classes=7)
    torch.save(other.state_dict(), tmp_path / "b.pth")
    found = Torchvision(SHAPE, "mobilenet_v3_small", str(tmp_path / "b.pth"))
    assert alike(found.module.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Timm, {"name": "test_vti"}, "timm has no such network; give .*test_vit"),
        (Torchvision, {"name": "resnet_18"}, "torchvision has no such network; give .*resnet18"),
        (Timm, {"name": SMALL, "options": {"depht": 3}}, "cannot be built as asked .*depht"),
        (Timm, {"name": SMALL, "pretrained": "no.pth"}, "no.pth: no such file"),
        (Timm, {"name": SMALL, "pretrained": True}, "could not be had .*give a file"),
        (Torchvision, {"name": "resnet18", "pretrained": True}, "could not be had .*give a file"),
    ],
)
def test_what_cannot_be_had_is_told(
    kind: Any, options: dict[str, Any], message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refused)
    with pytest.raises(ValueError, match=rf"^backbone\..*{message}"):
        kind(SHAPE, **options)


def refused(*_: Any, **__: Any) -> None:
    raise OSError("no network")


def test_a_file_of_another_network_does_not_fit(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "c.pth")
    for kind, name in ((Timm, SMALL), (Torchvision, "resnet18")):
        with pytest.raises(ValueError, match=r"c\.pth: does not fit"):
            kind(SHAPE, name, str(tmp_path / "c.pth"))
    (tmp_path / "d.pth").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"d\.pth: is no readable file"):
        Timm(SHAPE, SMALL, str(tmp_path / "d.pth"))
    with pytest.raises(ValueError, match=r"backbone: .* does not take images \[1, 32, 32\]"):
        Torchvision((1, 32, 32), "resnet18")


def test_a_fixed_body_keeps_weights_and_statistics() -> None:
    body = Timm(SHAPE, "test_resnet", fixed=True).train()
    before = {name: value.clone() for name, value in body.state_dict().items()}
    body(torch.randn(4, *SHAPE))
    assert alike(before, body.state_dict())
    assert not any(p.requires_grad for p in body.parameters())
    assert any(p.requires_grad for p in Timm(SHAPE, "test_resnet").parameters())


@pytest.mark.parametrize("strategy", ["mas", "lwf"])
def test_a_transformer_learns_is_resumed_and_read_back(
    strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    np.savez(tmp_path / "mine.npz", x=bunch.images[:500] / 16, y=bunch.target[:500])
    whole = timm.create_model(SMALL, num_classes=0, img_size=(32, 32))
    torch.save(whole.state_dict(), tmp_path / "first.pth")
    options = [f"strategy={strategy}", "backbone=timm", f"backbone.name={SMALL}", "tasks=2"]
    options += [f"backbone.pretrained={tmp_path / 'first.pth'}", "data=arrays", "logger=none"]
    options += [f"data.file={tmp_path / 'mine.npz'}", "data.shape=[3,32,32]", "heads=multi"]
    options += ["optimizer=adam", "lr=0.002", "batch_size=16", "resume=auto", "data.tasks=5"]
    options += [f"paths.data_dir={tmp_path}"]
    run = tmp_path / "run"
    assert execute(run, *options, "epochs=6") == 0, capsys.readouterr().err
    assert results_of(run)["accuracy"][0][0] > 0.7
    (tmp_path / "first.pth").unlink()  # a finished run does not need it
    read = load_run(run)
    assert read.predict(torch.zeros(3, 3, 32, 32), 0).shape == (3,)
    assert read.accuracy.tolist()[0][0] == results_of(run)["accuracy"][0][0]
