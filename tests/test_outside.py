"""Methods that are written outside the package, with public names alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lifelong import load_run
from tests.conftest import results_of
from tests.processes import ROOT
from tests.test_contract import FAST, assert_resumes

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
    """The second example of the page."""
    text = (ROOT / "docs" / "own_method.md").read_text()
    [code] = re.findall(r"```python\n(# my_replay\.py\n.*?)```", text, re.DOTALL)
    return str(code)


OUTSIDE = Path(__file__).parent / "outside"
METHODS = {  # the file's code, options, and lines that it may have
    "my_replay.DERpp": (derpp, ["+strategy.memory=20"], 25),
    "my_halves.Halves": (lambda: BALANCED, ["+strategy.per_class=4"], 50),
    "my_packnet.PackNet": (OUTSIDE / "my_packnet.py", ["+strategy.keep=0.4"], 50),
    "my_gem.GEM": (OUTSIDE / "my_gem.py", ["+strategy.per_class=3"], 40),
    "my_lora.LoRA": (OUTSIDE / "my_lora.py", ["+strategy.rank=3"], 50),
    "lifelong.strategies.LwF": (  # domain-incremental, with blurred boundaries and a measure
        OUTSIDE / "my_calibration.py",
        [
            "data.labels=shared", "heads=single", "data.blurry=0.1", "evaluate_every_steps=3",
            "+measure.overconfidence={_target_:my_calibration.Overconfidence,_partial_:true}",
        ],
        15,
    ),
}  # fmt: skip


def code_of(name: str) -> str:
    """The file that a method outside the package, or a measure, is written in."""
    source = METHODS[name][0]
    return source() if callable(source) else source.read_text()


@pytest.mark.parametrize("name", METHODS)
def test_it_is_short(name: str) -> None:
    code = re.sub(r'"""[^"]*"""', "", code_of(name))
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= METHODS[name][2]


@pytest.mark.parametrize(
    ("after", "name"),
    [(2, "my_replay.DERpp"), (5, "my_packnet.PackNet"), *((3, n) for n in METHODS)],
)
def test_it_learns_and_resumes_bit_equal(
    after: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, options, _ = METHODS[name]
    file = f"{name.partition('.')[0]}.py" if callable(source) else source.name
    (tmp_path / file).write_text(code_of(name))
    monkeypatch.syspath_prepend(tmp_path)
    given = [*FAST, "strategy=finetune", f"strategy._target_={name}", "heads=multi", *options]
    given += ["epochs=4", "checkpoint_every=2", "augment=flip"]
    whole = assert_resumes(tmp_path, given, after)
    if name in ("my_packnet.PackNet", "my_lora.LoRA"):  # which forget nothing
        rows = results_of(whole)["accuracy"]
        assert rows[0][0] == rows[1][0] == rows[2][0]
        assert rows[1][1] == rows[2][1]
    if "my_calibration" in str(source):
        assert -1 < results_of(whole)["metrics"]["final_overconfidence"] < 1
    loaded = load_run(whole, trust=True)
    x = torch.zeros(2, *loaded.tasks[0].test.x.shape[1:])
    assert loaded.scores(x, 0).shape == (2, 2)
