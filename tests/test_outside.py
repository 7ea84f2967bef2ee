"""Methods that are written outside the package, with public names alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lifelong import load_run
from lifelong.checkpoint import latest
from tests.conftest import execute, results_of
from tests.processes import ROOT
from tests.test_contract import FAST, Killed, alike, die_at

# Earlier images in equal parts with new ones, as a round's feed; names are those of `lifelong`.
BALANCED = """
import torch.nn.functional as F
from lifelong import Exemplars, Feed, Round, Strategy


class Halves(Strategy):
    def __init__(self, network, optimizer, schedule, per_class: int = 5):
        super().__init__(network, optimizer, schedule)
        self.kept, self.per_class = Exemplars(), per_class

    def begin_task(self, visit):
        super().begin_task(visit)
        self.kept.begin_task(visit)

    def rounds(self, visit):
        met = [index for index in self.classes if index != visit.task.index]
        feeds = {"old": Feed(lambda: self.kept.images(met), batch_size=8)} if met else {}
        yield Round(feeds=feeds)

    def training_loss(self, batch, old=None):
        loss = super().training_loss(batch)
        return loss if old is None else loss + F.cross_entropy(self(old.x, old.t), old.y)

    def end_task(self, visit, loader):
        super().end_task(visit, loader)
        for label in range(len(visit.task.classes)):
            rows = (visit.train.y == label).nonzero()[:, 0].cpu()
            self.kept.keep(visit.task, rows[: self.per_class])
"""


def derpp() -> str:
    """The second example of the README."""
    text = (ROOT / "README.md").read_text()
    [code] = re.findall(r"```python\n(# my_replay\.py\n.*?)```", text, re.DOTALL)
    return str(code)


METHODS = {
    "my_replay.DERpp": (derpp, ["+strategy.memory=20"]),
    "my_halves.Halves": (lambda: BALANCED, ["+strategy.per_class=4"]),
}


def test_replay_with_logits_is_short() -> None:
    lines = [line for line in derpp().splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 25


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("after", [2, 3, 5])
def test_it_learns_and_resumes_bit_equal(
    name: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, options = METHODS[name]
    (tmp_path / f"{name.partition('.')[0]}.py").write_text(code())
    monkeypatch.syspath_prepend(tmp_path)
    given = [*FAST, "strategy=finetune", f"strategy._target_={name}", "heads=multi", *options]
    given += ["epochs=4", "checkpoint_every=2", "augment=flip", "resume=auto"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert execute(whole, *given) == 0
    with monkeypatch.context() as patch:
        die_at(patch, after)
        with pytest.raises(Killed):
            execute(broken, *given)
    assert execute(broken, *given) == 0
    assert results_of(whole) == results_of(broken)
    states = []
    for folder in (whole, broken):
        saved, _ = latest(folder)
        assert saved is not None
        states.append(saved.strategy)
    assert alike(*states)
    loaded = load_run(whole, trust=True)
    x = torch.zeros(2, *loaded.tasks[0].test.x.shape[1:])
    assert loaded.scores(x, 0).shape == (2, 2)
