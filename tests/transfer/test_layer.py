"""A layer in two forms: what a task holds of it, and what is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lifelong.backbones import ConvLayer
from lifelong.transfer import HardTransferLayer
from tests.transfer.layers import factored


def hard() -> Any:
    return HardTransferLayer(ConvLayer(2, 3), 0)


def held(layer: Any) -> tuple[set[str], set[str]]:
    """Tasks with weights of their own, and with mappings."""
    return set(layer.private), set(layer.mapping)


def test_a_task_holds_what_the_forms_need_that_it_may_take() -> None:
    layer = hard()
    for task, forms in enumerate(([True], [False], [True, False])):
        layer.add_task(task, forms)
        assert (layer.before is not None) == (len(forms) == 2)  # only a search goes back
    assert held(layer) == ({"1", "2"}, {"0", "2"})
    assert [layer.private[task].weight.requires_grad for task in "12"] == [False, True]
    layer.train_only(1)
    assert [layer.private[task].weight.requires_grad for task in "12"] == [True, False]
    assert not layer.shared_params.weight.requires_grad  # the second task has no share in it
    x = torch.randn(1, 2, 4, 4)
    for shared, form in ((True, layer.shared_params), (False, layer.private["2"])):
        assert torch.equal(layer.map(x, 2, shared), form.map(x))


@pytest.mark.parametrize("shared", [True, False])
def test_a_search_ends_in_one_form_and_puts_the_slot_back(shared: bool) -> None:
    layer = hard()
    layer.add_task(0, [True, False])
    before = layer.shared_params.weight.detach().clone()
    with torch.no_grad():
        layer.shared_params.weight.add_(1)
    layer.commit(0, shared)
    assert layer.in_use == shared
    assert held(layer) == ((set(), {"0"}) if shared else ({"0"}, set()))
    assert torch.equal(layer.shared_params.weight, before + 1 if shared else before)
    assert layer.size() == 3 * 2 * 9 + 3
    slot = layer.shared_params
    layer.add_task(1, [True])  # a slot that no task uses is drawn anew
    assert (layer.shared_params is slot) == shared


def test_a_task_of_one_form_gets_the_other_with_the_same_weights() -> None:
    """From own weights to shared ones not in every kind: factors would have to be found."""
    for made, shared in ((hard(), True), (hard(), False), (factored().float(), True)):
        if not made.private and not made.mapping:
            made.add_task(0, [shared])
        x = torch.randn(1, made.template.weight.shape[1], 4, 4)
        wanted = made.map(x, 0, shared)
        made.complete(0)
        assert held(made) == ({"0"}, {"0"})
        for form in (True, False):
            torch.testing.assert_close(made.map(x, 0, form), wanted)
        other = made.private["0"] if shared else made.mapping["0"]
        assert not any(p.requires_grad for p in other.parameters())
    layer = factored()
    layer.add_task(1, [False])
    with pytest.raises(NotImplementedError):
        layer.complete(1)
