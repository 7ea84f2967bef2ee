"""Gates of channels: what they multiply, what is fixed (LASEM spec, check 21)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.networks.gated import network


def test_gates_multiply_the_pooled_outputs() -> None:
    made, x = network(), torch.randn(5, 2, 6, 6)
    scores, gates = made.gated(x, 0)
    h = x
    for layer, gate in zip(made.body.layers, made.gates["0"], strict=True):
        logits = F.linear(
            F.relu(F.linear(h.permute(0, 2, 3, 1).flatten(1), gate.first.weight, gate.first.bias)),
            gate.second.weight,
            gate.second.bias,
        )
        h = layer(h) * torch.softmax(logits / 0.1, 1)[:, :, None, None]
    expected = made.heads(h.permute(0, 2, 3, 1).flatten(1), 0)
    torch.testing.assert_close(scores, expected)
    assert [gate.shape for gate in gates] == [(5, width) for width in (3, 4, 3, 4)]


def test_binary_gates() -> None:
    made, x = network("paper"), torch.randn(5, 2, 6, 6)
    for mode in (True, False):
        made.train(mode)
        _, gates = made.gated(x, 0)
        assert all(set(gate.unique().tolist()) <= {0.0, 1.0} for gate in gates)
    made.train()
    _, gates = made.gated(x, 0)
    weight = made.gates["0"][0].second.weight
    assert torch.autograd.grad(gates[0].sum(), weight)[0].abs().sum() > 0  # straight through
    assert made.gated(x[:1], 0)[0].isfinite().all()  # a batch of one has no variance


def test_evaluated_gates_do_not_depend_on_the_batch() -> None:
    made, x = network("paper"), torch.randn(5, 2, 6, 6)
    made.eval()
    torch.testing.assert_close(made.logits(x, 0)[:2], made.logits(x[:2], 0))


def test_fixed_kernels_stay_and_free_ones_are_drawn_anew() -> None:
    made = network("paper")
    layer = made.body.layers[1]
    before = layer.weight.detach().clone()
    made.fix(1, torch.tensor([True, False, True, False]))
    for channel, kept in enumerate((True, False, True, False)):
        assert torch.equal(layer.weight[channel], before[channel]) == kept
    layer.weight.data.add_(1.0)  # whatever an optimizer does
    layer.bias.data.add_(1.0)
    weight, bias = made.weight(1)
    assert torch.equal(weight[[0, 2]], before[[0, 2]])
    assert torch.equal(bias[[0, 2]], torch.full((2,), 0.2))
    assert torch.equal(weight[1], layer.weight[1])
    made.fix(1, torch.tensor([False, True, False, False]))
    assert torch.equal(made.weight(1)[0][[0, 2]], before[[0, 2]])
    assert made.fixed_1.tolist() == [True, True, True, False]


def test_gates_of_earlier_tasks_are_frozen() -> None:
    made = network(tasks=2)
    assert not any(p.requires_grad for p in made.gates["0"].parameters())
    assert all(p.requires_grad for p in made.gates["1"].parameters())
