"""Every body at its smallest sizes, in processes of their own: a broken heap ends a process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lifelong.backbones import AlexNet, PreActivationResNet18, ReducedResNet, ResNet18
from lifelong.backbones.backbone import Body
from lifelong.configuration.compose import FOLDER
from lifelong.data.transforms import RandomCrop
from tests import processes

Shape = tuple[int, int, int]
Case = tuple[str, Callable[[Shape], Body], Shape]

CONTEXT = multiprocessing.get_context("forkserver")  # the server of `processes`
LIMIT = 60  # seconds
FILES = sorted((FOLDER / "backbone").glob("*.yaml"))
SMALLEST: dict[str, tuple[Shape, dict[str, Any]]] = {  # of each target: images, options
    "AlexNet": ((3, 63, 63), {"weights": "none"}),
    "ResNet18": ((3, 32, 32), {"weights": "none"}),
    "Timm": ((3, 32, 32), {"name": "test_resnet"}),
    "Torchvision": ((3, 32, 32), {"name": "mobilenet_v3_small"}),
    "Module": ((1, 1, 1), {"module": {"_target_": "torch.nn.Flatten", "_partial_": True}}),
    "ReducedResNet": ((1, 25, 25), {"width": 1}),
    "PreActivationResNet18": ((1, 1, 1), {"width": 1}),
    "convnet": ((1, 1, 1), {"channels": 1, "widths": 1}),
    "resnet17": ((1, 1, 1), {}),
    "mlp": ((1, 1, 1), {"widths": 1}),
}


def body_of(file: Path, shape: Shape) -> Body:
    """The body of a member, as narrow as it can be."""
    node: Any = OmegaConf.merge({"protocol": {"dropout": 0.0}}, OmegaConf.load(file)).backbone
    for key, value in SMALLEST[node._target_.rpartition(".")[2]][1].items():
        if key in list(node.keys()):  # also one that a person has to give
            now = OmegaConf.select(node, key)
            node[key] = [value] * len(now) if OmegaConf.is_list(now) else value
    node.shape = list(shape)
    body: Body = instantiate(node, _convert_="all")()
    return body


def members() -> Iterator[Case]:
    for file in FILES:
        target = OmegaConf.load(file).backbone._target_.rpartition(".")[2]
        yield file.stem, partial(body_of, file), SMALLEST[target][0]


def widths(make: Any, sizes: Iterable[int], channels: int = 3) -> Iterator[Case]:
    for width in range(1, 9):
        for size in sizes:
            name = f"width {width}, {size} x {size}"
            yield name, partial(make, width=width), (channels, size, size)


def pixels(shape: Shape, count: int, cropped: bool) -> torch.Tensor:
    """Random images; cropped ones come with the channels last in memory."""
    x = torch.rand(count, *shape)
    return RandomCrop(shape[1], padding=2)(x, torch.Generator()) if cropped else x


def run_search(cases: Callable[[], Iterable[Case]], cropped: bool, isa: str, log: Path) -> None:
    """Forward and backward of each case; `log` says which one it is at."""
    if isa:
        os.environ["ONEDNN_MAX_CPU_ISA"] = isa
    torch.set_num_threads(1)
    for name, make, shape in cases():
        log.write_text(name)
        body = make(shape)
        for count in (2, 16):
            x = pixels(shape, count, cropped).requires_grad_()
            features = body(x)
            assert features.shape == (count, body.features)
            features.square().sum().backward()
            gradients = [x.grad, *(p.grad for p in body.parameters())]
            assert all(found is not None and found.isfinite().all() for found in gradients)
    log.write_text("done")


def survives(
    log: Path, cases: Callable[[], Iterable[Case]], cropped: bool = False, isa: str = ""
) -> None:
    assert processes.ROOT.is_dir()
    process = CONTEXT.Process(target=run_search, args=(cases, cropped, isa, log))
    process.start()
    process.join(LIMIT)
    if process.exitcode is None:
        process.kill()
    assert (log.read_text(), process.exitcode) == ("done", 0)


narrow_isa = pytest.mark.parametrize("isa", ["", "AVX2"])  # what oneDNN may use: all, or less


def test_every_body_on_the_smallest_images(tmp_path: Path) -> None:
    survives(tmp_path / "log", members)


@narrow_isa
def test_narrow_preactivation_networks(tmp_path: Path, isa: str) -> None:
    cases = partial(widths, PreActivationResNet18, (1, 2, 8, 9))
    survives(tmp_path / "log", cases, isa=isa)


@narrow_isa
def test_narrow_reduced_networks(tmp_path: Path, isa: str) -> None:
    survives(tmp_path / "log", partial(widths, ReducedResNet, (25, 32)), isa=isa)


@pytest.mark.parametrize("channels", [1, 3])  # one channel counts as contiguous either way
@pytest.mark.parametrize(
    ("make", "sizes"), [(PreActivationResNet18, (8, 9)), (ReducedResNet, (25, 32))]
)
def test_narrow_networks_on_cropped_images(
    tmp_path: Path, make: Any, sizes: Any, channels: int
) -> None:
    cases = partial(widths, make, sizes, channels)
    survives(tmp_path / "log", cases, cropped=True, isa="AVX2")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AlexNet((3, 62, 63), "none"), r"data\.shape=\[3, 62, 63\]: .* at least 63 x 63"),
        (lambda: ResNet18((3, 32, 31), "none"), r"data\.shape=\[3, 32, 31\]: .* least 32 x 32"),
        (lambda: ReducedResNet((3, 24, 25)), r"data\.shape=\[3, 24, 25\]: .* at least 25 x 25"),
        (lambda: PreActivationResNet18((3, 8, 8), 0), r"backbone\.width=0: give a whole number"),
    ],
)
def test_anything_smaller_is_refused(make: Callable[[], Body], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
