"""How long an optimizer lasts, and that a stopped run goes on with its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.finished.load import load_run
from lifelong.optim import TAG
from lifelong.storage.checkpoint import Checkpoint, latest
from tests.conftest import differences, execute, results_of
from tests.test_contract import FAST, stopped_everywhere

OPTIONS = [
    "optimizer=tag_rmsprop lr=0.0005",
    "optimizer=tag_adam lr=0.0005 optimizer.weights=gradients optimizer.first_gradients=3 "
    "optimizer.max_history=1",
    "optimizer=adam optimizer_lifetime=stream heads=multi",
    "optimizer=sgd lr=0.05 optimizer.momentum=0.8 optimizer_lifetime=epoch",
    "optimizer=adam optimizer_lifetime=stream strategy=hps transfer=top2",
    "optimizer=adam optimizer_lifetime=stream strategy=single_task data.order=[1,2,1]",
    "optimizer=tag_rmsprop lr=0.0005 strategy=single_task data.order=[1,2,1]",
    "optimizer=sgd optimizer._target_=tests.optim.test_lifetime.Warmed lr=0.05",
    "optimizer=sgd optimizer._target_=tests.optim.test_lifetime.Warmed optimizer_lifetime=stream",
    "optimizer=sgd optimizer._target_=tests.optim.test_lifetime.Told lr=0.05",
]


class Warmed(torch.optim.SGD):
    """Counts its steps in its group, as many do, and momentum falls by them."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            group["momentum"] = 0.9 / group["steps"]
        return super().step(closure)


class Told(Warmed):
    """Counts its steps itself, and says so in its state_dict."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        for group in self.param_groups:
            group["steps"] = self.count
        return super().step(closure)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "count"})


@pytest.mark.parametrize("options", OPTIONS)
def test_resumes_bit_equal(tmp_path: Path, options: str) -> None:
    """Checkpoint 2 lies inside the first task, 3 at its end, 7 inside the third."""
    given = ["strategy=finetune", *options.split(), *FAST, "epochs=5", "checkpoint_every=2"]
    whole, stops = stopped_everywhere(tmp_path, [*given, "resume=auto"])
    state, wrong = latest(whole)
    assert state is not None
    assert not wrong
    kept = torch.load(whole / "visit_03.ckpt", weights_only=True)
    lasting = "optimizer_lifetime=stream" in options or "tag" in options
    assert (kept["optimizer"] is not None) == lasting
    for broken in (stops[1], stops[2], stops[6]):
        assert execute(broken, *given, "resume=auto") == 0
        assert results_of(whole) == results_of(broken)
        other = latest(broken)[0]
        assert other is not None
        assert not differences(state.optimizer, other.optimizer)[0]
        again = torch.load(broken / "visit_03.ckpt", weights_only=True)["strategy"]
        for key, value in kept["strategy"].items():
            if torch.is_tensor(value):
                assert torch.equal(value, again[key]), (broken.name, key)


def test_rows_of_finished_tasks_are_written_once(tmp_path: Path) -> None:
    """A checkpoint does not grow with the tasks; with all parts it gives the state of then."""
    optimizer = TAG([torch.nn.Parameter(torch.zeros(40, 50))], lr=0.1)
    weight = optimizer.param_groups[0]["params"][0]
    sizes, times = [], {}
    for step in range(6):
        weight.grad = torch.randn(40, 50)
        optimizer.step()
        optimizer.end_task()
        state = {"w": dict(optimizer.state[weight])}
        written = Checkpoint(step + 1, True, {}, {}, optimizer=state, grown=list(optimizer.grown))
        written.save(tmp_path, "latest")
        sizes.append((tmp_path / f"visit_{step + 1:02d}.ckpt").stat().st_size)
        parts = sorted(tmp_path.glob("history_*"))
        assert len(parts) == step + 1
        times |= {part.name: times.get(part.name, part.stat().st_mtime_ns) for part in parts}
        found, _ = latest(tmp_path)
        assert found is not None
        assert not differences(found.optimizer, state)[0]
        assert found.optimizer is not None
        assert len(found.optimizer["w"]["squares"]) == step + 1
    assert max(sizes) < 1.05 * min(sizes)
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in times.items())


def test_rows_that_are_forgotten_are_removed(tmp_path: Path) -> None:
    given = ["strategy=finetune", *FAST, "epochs=1", "optimizer=tag_rmsprop", "lr=0.0005"]
    assert execute(tmp_path / "run", *given, "optimizer.max_history=1") == 0
    left = sorted(path.name for path in (tmp_path / "run").glob("history*"))
    assert left == ["history_02.part", "history_03.part"]


@pytest.mark.parametrize("damage", ["lost", "cut", "bit", "other"])
def test_a_damaged_part_is_not_believed(tmp_path: Path, damage: str) -> None:
    given = ["strategy=finetune", *FAST, "epochs=1", "optimizer=tag_rmsprop", "lr=0.0005"]
    folder = tmp_path / "run"
    assert execute(folder, *given) == 0
    if damage == "other":
        assert execute(tmp_path / "other", *given, "seed=2") == 0
    newest, oldest = folder / "history_03.part", folder / "history_01.part"
    for part in (newest, oldest):
        content = part.read_bytes()
        if damage == "lost":
            part.unlink()
        elif damage == "cut":
            part.write_bytes(content[: len(content) // 2])
        elif damage == "bit":
            middle = len(content) // 2
            part.write_bytes(
                content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :]
            )
        else:
            part.write_bytes((tmp_path / "other" / part.name).read_bytes())
        if part == newest:
            found, wrong = latest(folder)
            assert found is not None
            assert found.visit == 2
            assert "history_03.part" in wrong[0]
    with pytest.raises(ValueError, match=r"history_01\.part: what finished tasks left"):
        latest(folder)
    assert load_run(folder).strategy is not None


def test_lifetimes_differ(tmp_path: Path) -> None:
    given = ["strategy=finetune", *FAST, "epochs=2", "optimizer=adam"]
    found = []
    for lifetime in ("epoch", "task", "stream"):
        folder = tmp_path / lifetime
        assert execute(folder, *given, f"optimizer_lifetime={lifetime}") == 0
        state = torch.load(folder / "visit_03.ckpt", weights_only=True)["strategy"]
        found.append(state["network.body.0.weight"])
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("optimizer=tag_rmsprop optimizer_lifetime=task", "TAG remembers earlier tasks"),
        ("optimizer_lifetime=week", "optimizer_lifetime=week: give epoch or task or stream"),
        ("optimizer=tag_rmsprop optimizer.b=-1", "b=-1"),
        ("optimizer=tag_rmsprop optimizer.rule=sgd", "optimizer.rule=sgd: give rmsprop"),
        (
            "strategy=brute_force_hps optimizer=adam optimizer_lifetime=stream",
            "BruteForce cannot do that: every candidate begins with a new optimizer",
        ),
        ("strategy=den optimizer=tag_adam", "DEN cannot do that"),
        ("optimizer=sgd optimizer.momentum=-1", "momentum"),
        ("optimizer=sgd optimizer.momentum=5", "optimizer.momentum=5: give 0 to 1"),
        ("optimizer=rmsprop optimizer.alpha=1.5", "optimizer.alpha=1.5: give 0 to 1"),
    ],
)
def test_refuses(tmp_path: Path, options: str, message: str, capsys: Any) -> None:
    assert execute(tmp_path / "run", *options.split(), *FAST) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
