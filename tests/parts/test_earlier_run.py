"""What a run of lifelong tickets left, looked at before it is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lifelong.parts.earlier_run import EarlierRun
from lifelong.parts.masks import Masks
from tests.conftest import toy_task


def kernels() -> dict[str, nn.Parameter]:
    """Four convolution weights, each 1."""
    return {"0.weight": nn.Parameter(torch.ones(2, 2, 1, 1))}


def packed(*kept: int) -> dict[str, object]:
    """A mask that keeps the entries at these places."""
    masks = Masks(kernels())
    flat = torch.zeros(4, dtype=torch.bool)
    flat[list(kept)] = True
    masks.set_flat(flat)
    return masks.packed()


def test_a_folder_of_no_such_run_is_named(tmp_path: Path) -> None:
    run = EarlierRun(str(tmp_path), 1, "run", "first")
    with pytest.raises(ValueError, match=r"strategy\.visit=1: the stream has 2 tasks; give"):
        run.open([toy_task(0), toy_task(1)])
    message = rf"strategy\.run={tmp_path}: holds no checkpoint of task 1, only of the visits none"
    with pytest.raises(ValueError, match=message):
        run.open([toy_task(0)])
    assert EarlierRun("~/run", 1, "run", "first").folder == Path.home() / "run"


def test_weights_and_masks_must_fit_the_network() -> None:
    run = EarlierRun("run", 1, "run", "first")
    run.weights, run.found = {"body.0.weight": torch.ones(2, 2, 1, 1)}, packed(0, 3)
    network, masks = {"body.0.weight": torch.zeros(2, 2, 1, 1)}, Masks(kernels())
    run.check_shapes(network, masks)
    assert masks.keep["0.weight"].flatten().tolist() == [True, False, False, True]
    for other in ({"body.0.weight": torch.zeros(2, 2)}, {"body.1.weight": torch.zeros(2, 2, 1, 1)}):
        with pytest.raises(ValueError, match=r"strategy\.start=first has other weights, body"):
            run.check_shapes(other, masks)


@pytest.mark.parametrize(
    ("start", "bare"), [((0, 1, 2, 3), 0), ((0, 3), 0), ((0, 1), 1), ((1, 2), 2)]
)
def test_a_start_has_weights_wherever_the_mask_keeps_some(
    start: tuple[int, ...], bare: int
) -> None:
    run = EarlierRun("run", 1, "run", "before")
    run.weights, run.found = {"body.0.weight": torch.ones(2, 2, 1, 1)}, packed(0, 3)
    run.start_mask = packed(*start)
    network = {"body.0.weight": torch.zeros(2, 2, 1, 1)}
    if not bare:
        run.check_shapes(network, Masks(kernels()))
        return
    with pytest.raises(ValueError, match=f"has no weights for {bare} of the 2 that"):
        run.check_shapes(network, Masks(kernels()))
