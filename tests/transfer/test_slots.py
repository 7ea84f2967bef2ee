"""Layers with several shared forms: the search over them against each configuration by itself."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lifelong import LASEM, MultiHead, convnet
from lifelong.data import Batch
from lifelong.transfer import TransferNetwork, every
from lifelong.transfer.config import config_of, pattern_code
from lifelong.transfer.posterior import posterior
from tests.conftest import KINDS, execute, results_of, transfer_network

kinds = pytest.mark.parametrize("kind", list(KINDS))
three = partial(every, groups=[1, 1, 2], slots=2)


def test_all_configurations_each_once() -> None:
    for slots in (1, 2, 3):
        found = every(3, slots=slots)
        assert sorted(map(tuple, found)) == sorted(itertools.product(range(slots + 1), repeat=3))
        assert found[0] == (1, 1, 1)
    assert every(2, slots=2)[1] == (2, 1)
    assert [config_of(pattern_code(config)) for config in every(2, slots=3)] == every(2, slots=3)
    with pytest.raises(ValueError, match=r"3\^10 configurations"):
        every(10, slots=2)
    with pytest.raises(ValueError, match=r"transfer\.slots=0"):
        every(2, slots=0)


@kinds
def test_the_tree_is_each_configuration_by_itself(kind: str) -> None:
    network = transfer_network(three, kind=kind).double()
    for task in range(2):
        network.add_task(task, range(3))
        network.double()
        if not task:
            network.commit(0, network.candidates[4])
    x = torch.randn(4, 2, 6, 6, dtype=torch.double)
    together = network.tree_features(x, 1).view(27, 4, -1)
    for block, config in zip(together, network.candidates, strict=True):
        torch.testing.assert_close(block, network.features(x, 1, config), rtol=0, atol=1e-12)
    if kind == "hard":  # the others' small weights leave some outputs at zero
        assert len({tuple(block.flatten().tolist()) for block in together}) == 27


def test_the_posterior_is_that_of_brute_force() -> None:
    torch.manual_seed(0)
    body = partial(convnet, (1, 8, 8), [3, 4], [2, 2])
    network = TransferNetwork(body, MultiHead, KINDS["hard"], partial(every, slots=2))
    method = LASEM(network, partial(torch.optim.SGD, lr=0.1), likelihood="geometric_mean")
    network.add_task(0, range(3))
    method._task = 0
    rows = torch.zeros(6).long()
    x, y = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    loss = method.training_loss(Batch(x, y, rows, rows))
    losses, log_p = [], []
    for config in network.candidates:
        nll = F.cross_entropy(network.heads(network.features(x, 0, config), 0), y, reduction="none")
        losses.append(nll.mean())
        log_p.append(-nll)
    q = posterior(torch.full((9,), 1 / 9), torch.stack(log_p), "geometric_mean")
    torch.testing.assert_close(loss, q @ torch.stack(losses))


@kinds
def test_a_slot_that_a_task_does_not_take_is_put_back(kind: str) -> None:
    network = transfer_network(three, kind=kind)
    network.add_task(0, range(3))
    network.commit(0, (1, 2, 0, 0))
    layers = network.transfer_layers()
    assert [[own.in_use for own in layer.all_slots()] for layer in layers] == [
        [True, False], [False, True], [False, False], [False, False],
    ]  # fmt: skip
    slot = layers[1].others[0].shared_params
    kept = [p.detach().clone() for p in slot.parameters()]
    network.add_task(1, range(3))
    with torch.no_grad():
        for p in layers[1].others[0].shared_params.parameters():
            p += 1.0
    network.commit(1, (1, 1, 2, 2))
    back = layers[1].others[0].shared_params.parameters()
    assert all(torch.equal(a, b) for a, b in zip(kept, back, strict=True))
    assert [own.in_use for own in layers[1].all_slots()] == [True, True]
    held = [sorted(layer.private) for layer in layers]
    assert held == [[], [], ["0"], ["0"]]


@kinds
def test_structure_comes_back_from_a_state(kind: str) -> None:
    network = transfer_network(three, kind=kind)
    network.add_task(0, range(3))
    network.commit(0, (2, 1, 0, 0))
    other = transfer_network(three, kind=kind)
    other.add_task(0, range(3))
    other.load_state_dict(network.state_dict())
    x = torch.randn(3, 2, 6, 6)
    network.eval(), other.eval()
    assert torch.equal(network.logits(x, 0), other.logits(x, 0))
    assert network.size() == other.size()
    assert other.configs[0] == (2, 1, 0, 0)


QUICK = ["data=digits", "data.fraction=0.3", "epochs=2", "batch_size=16", "logger=none"]
QUICK += ["trainer=cpu", "backbone=conv_small", "transfer.groups=[2,2]", "transfer.slots=2"]


@pytest.mark.page
@pytest.mark.parametrize("kind", ["hps", "tf", "dfcnn"])
def test_a_run_chooses_among_slots(tmp_path: Path, kind: str) -> None:
    assert execute(tmp_path, *QUICK, "strategy=lasem", f"kind={kind}", "tasks=3") == 0
    method = results_of(tmp_path)["method"]
    assert len(method["configurations"]) == 9
    assert all(0 <= share <= 1 for share in method["transfer_frequency"])
    assert (tmp_path / "figures" / "chosen_layers.png").exists()


def test_searches_of_two_forms_refuse_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(tmp_path, *QUICK, "strategy=brute_force_hps", "tasks=2") == 2
    assert "transfer.slots=2: brute force" in capsys.readouterr().err
    assert execute(tmp_path, *QUICK, "strategy=darts_hps", "tasks=2") == 2
    assert "transfer: gives 9 configurations" in capsys.readouterr().err
