"""DEN's phases."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lifelong.data import Batch
from lifelong.parts import units
from lifelong.strategies import DEN
from tests.conftest import toy_visit
from tests.strategies.growing import den


def test_connected_weights_are_found_from_the_output_down() -> None:
    made = den()
    with torch.no_grad():
        for layer in [*made.network.growing(), made.network.head(1)]:
            layer.weight.zero_()
        made.network.head(1).weight[0, 3] = 1
        last, below = made.network.growing()[4], made.network.growing()[3]
        last.weight[3, 2] = 1
        last.weight[0, 1] = 1  # of a unit that the output does not use
        below.weight[2, 0] = 1
    masks, taken = zip(*made._trained("selective"), strict=True)
    assert masks[5][:, 3].all()
    assert masks[5].sum() == len(masks[5])
    assert [flags.nonzero().flatten().tolist() for flags in taken[:5]] == [[], [], [0], [2], [3]]
    assert masks[4].nonzero().tolist() == [[3, 2]]
    assert masks[3].nonzero().tolist() == [[2, 0]]
    assert masks[2].nonzero().tolist() == []
    made.network.growing()[2].weight.data[0, 1] = 1
    assert made._trained("selective")[2][0].nonzero().tolist() == [[0, 1]]


def test_drifted_units_are_split() -> None:
    made = den(split_above=0.5, grow=1)
    made._old = units.copies(made.network.growing())
    layer, following = made.network.growing()[1], made.network.growing()[2]
    old = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight[2] += 1.0
        layer.weight[0] += 0.9
        layer.weight[1] += 0.001
        layer.bias[2] = 7.0
    moved, outgoing = layer.weight.detach().clone(), following.weight.detach().clone()
    chosen = units.moved_most(layer, old, 1, 0.5)
    assert chosen.tolist() == [2]  # of two, the one that moved most
    made._split()
    assert made.network.widths == [3, 5, 3, 4, 5]
    assert torch.equal(layer.weight[2], old[2])
    assert layer.bias[2].item() == pytest.approx(0.2)
    assert torch.equal(layer.weight[4], moved[2])
    assert layer.bias[4] == 7.0
    assert torch.equal(layer.weight[0], moved[0])
    assert torch.equal(following.weight[:, 4], outgoing[:, 2])


def test_new_units_without_inputs_are_removed() -> None:
    made = den()
    made._old, widths = units.copies(made.network.growing()), made.network.widths
    made.network.grow(1, [2, 2, 2, 2, 2])
    with torch.no_grad():
        made.network.growing()[1].weight[5] = 0
        made.network.growing()[1].weight[0] = 0  # an old unit stays whatever it is
    made._drop_dead()
    assert made.network.widths == [width + 2 - (number == 1) for number, width in enumerate(widths)]
    assert made.network.growing()[2].weight.shape[1] == widths[1] + 1


def test_phases() -> None:
    """Output, selective; expansion and split only for a high loss."""
    for entropy, names in (
        (0.5, ["output", "selective", "expansion", "split"]),
        (0.0, ["output", "selective"]),
    ):
        made = den()
        metrics = {"train/cross_entropy": entropy}
        rounds, found = made.rounds(toy_visit(1)), []
        now = next(rounds)
        while now is not None:
            found.append((now.name, now.epochs))
            try:
                now = rounds.send(metrics)
            except StopIteration:
                now = None
        assert [name for name, _ in found] == names
        assert found[0] == ("output", 2)
        assert {epochs for _, epochs in found[1:]} == {None}
        assert made.network.stamps[1] == made.network.widths


def test_expansion_leaves_old_units_alone() -> None:
    """Their biases too, which earlier tasks use; a step moves what involves new units."""
    made = den(l2=0.0)
    x, before = torch.randn(4, 2, 6, 6), made.network.logits(torch.ones(1, 2, 6, 6), 0)
    made._old = units.copies(made.network.growing())
    made.network.grow(1, [2] * 5)
    made._begin("expansion")
    optimizer = made.configure_optimizers()["optimizer"]
    for _ in range(3):
        batch = Batch(x, torch.tensor([0, 1, 2, 0]), torch.ones(4).long())
        optimizer.zero_grad()
        made.training_loss(batch).backward()
        optimizer.step()
        made.on_train_batch_end(None, batch, 0)
    for layer, (weight, bias) in zip(made.network.growing(), made._old, strict=True):
        assert torch.equal(layer.weight[: len(bias), : weight.shape[1]], weight)
        assert torch.equal(layer.bias[: len(bias)], bias)
    assert torch.equal(made.network.logits(torch.ones(1, 2, 6, 6), 0), before)
    assert not torch.equal(made.network.growing()[0].bias[-2:], torch.full((2,), 0.2))


def penalised(made: DEN, entries: list[torch.Tensor], distances: list[torch.Tensor]) -> None:
    """CE + l2/2 squared norms + drift/2 squared distances, compared with the method's loss."""
    x, y = torch.linspace(-1, 1, 4 * 72).view(4, 2, 6, 6), torch.tensor([0, 1, 2, 0])
    logits = made.network.logits(x, 1)
    total = F.cross_entropy(logits, y)
    for entry in entries:
        total = total + 0.3 / 2 * entry.square().sum()
    for distance in distances:
        total = total + 0.7 / 2 * distance.square().sum()
    found = made.training_loss(Batch(x, y, torch.ones(4).long()))
    torch.testing.assert_close(found, total)


def test_every_phase_has_the_penalties_of_the_public_program() -> None:
    """Weight decay on all that is trained, biases too; drift on what was there before the task."""
    made = den(l2=0.3, drift=0.7, expand_above=0.0, grow=2, split_above=0.0)
    layers, head = made.network.growing(), made.network.head(1)
    with torch.no_grad():
        head.weight[:, 1] = 0  # the outputs do not depend on the second unit of the last layer
    before = [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in layers]
    rounds = made.rounds(toy_visit(1))
    assert next(rounds).name == "output"
    penalised(made, [head.weight, head.bias], [])
    assert next(rounds).name == "selective"
    with torch.no_grad():
        for layer in layers:
            layer.weight.add_(0.01)
            layer.bias.add_(0.02)
    moved = [layer.weight - old for layer, (old, _) in zip(layers, before, strict=True)]
    moved += [layer.bias - old for layer, (_, old) in zip(layers, before, strict=True)]
    others = [unit for unit in range(len(layers[-1].bias)) if unit != 1]
    trained = [tensor for layer in layers[:-1] for tensor in (layer.weight, layer.bias)]
    trained += [layers[-1].weight[others], layers[-1].bias[others]]
    trained += [head.weight[:, others], head.bias]
    penalised(made, trained, moved)
    assert rounds.send({"train/cross_entropy": 1.0}).name == "expansion"
    trained = [head.weight, head.bias]
    for number, (layer, (weight, bias)) in enumerate(zip(layers, before, strict=True)):
        trained += [layer.weight[len(bias) :], layer.bias[len(bias) :]]
        trained += [layer.weight[: len(bias), weight.shape[1] :]] if number else []
    penalised(made, trained, [])
    assert next(rounds).name == "split"
    trained = [tensor for layer in [*layers, head] for tensor in (layer.weight, layer.bias)]
    moved = [
        part
        for layer, (weight, bias) in zip(layers, before, strict=True)
        for part in (
            layer.weight[: len(bias), : weight.shape[1]] - weight,
            layer.bias[: len(bias)] - bias,
        )
    ]
    penalised(made, trained, moved)
