"""Runs of the scenarios, and tests inside visits and of tasks to come."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate

from lifelong import load_run
from lifelong.data.seeds import derive
from lifelong.finished import evaluate, export
from lifelong.measures import Tally
from lifelong.measures.matrix import anytime, forward_transfer
from lifelong.networks import IncrementalHead, Network, SingleHead
from lifelong.parts.distillation import distillation
from lifelong.storage.checkpoint import latest
from lifelong.strategies import ER, MAS, LwF, Strategy
from tests.conftest import execute, results_of, small_body, toy_visit
from tests.test_contract import ADAM, FAST, alike, assert_resumes

SGD = partial(torch.optim.SGD, lr=0.1)
MORE = ["evaluate_on=all", "evaluate_every_steps=4", "evaluate_images=30"]
DOMAIN = ["data.labels=shared", "heads=single"]


def test_both_accuracies_of_one_head_for_shared_labels_are_the_same(tmp_path: Path) -> None:
    options = [*FAST, *ADAM, *DOMAIN, "strategy=finetune", "epochs=4"]
    assert execute(tmp_path / "task", *options) == 0
    assert execute(tmp_path / "class", *options, "evaluate=class") == 0
    task, by_class = results_of(tmp_path / "task"), results_of(tmp_path / "class")
    assert task["accuracy"] == task["accuracy_class"] == by_class["accuracy"]
    assert by_class["accuracy"] == by_class["accuracy_task"]


@pytest.mark.parametrize("heads", ["single", "multi"])
def test_one_head_of_classes_of_their_own_cannot_tell(
    tmp_path: Path, heads: str, capsys: Any
) -> None:
    options = [*FAST, "strategy=finetune", f"heads={heads}", "epochs=1"]
    assert execute(tmp_path / "run", *options) == 0
    assert ("accuracy_class" in results_of(tmp_path / "run")) == (heads == "multi")
    if heads == "single":
        assert execute(tmp_path / "two", *options, "evaluate=class") == 2
        assert "use heads=multi or heads=incremental" in capsys.readouterr().err


def test_rehearsal_tells_classes_apart_where_fine_tuning_knows_the_last_ones(
    tmp_path: Path,
) -> None:
    found = {}
    for method in ("finetune", "er"):
        options = [*FAST[:-1], *ADAM, "heads=incremental", f"strategy={method}", "epochs=12"]
        assert execute(tmp_path / method, *options) == 0
        found[method] = results_of(tmp_path / method)
    last = found["finetune"]["accuracy_class"][-1]
    assert last[0] == last[1] == 0
    assert last[2] > 0.9
    assert found["er"]["metrics"]["final_accuracy_class"] > 0.75


@pytest.mark.parametrize(
    ("scenario", "strategy"),
    [
        *(("domain", name) for name in ("si", "mas", "lwf", "frozen_body")),
        *(("class", name) for name in ("er", "agem", "ewc", "lwf", "joint")),
    ],
)
def test_methods_with_one_head_and_blurred_boundaries(
    tmp_path: Path, scenario: str, strategy: str
) -> None:
    """Resumed inside a visit, with all that is measured."""
    heads = DOMAIN if scenario == "domain" else ["heads=incremental"]
    options = [*FAST, *ADAM, *heads, f"strategy={strategy}", "epochs=2", "data.blurry=0.2", *MORE]
    options += ["checkpoint_every=1"]
    if strategy in ("ewc", "mas", "si"):
        options += ["strategy.strength=1"]
    assert_resumes(tmp_path, options, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["strategy=hps", "data.blurry=0.1"], "data.blurry=0.1: Strategy cannot do that"),
        (["strategy=cil", "heads=multi", "data.blurry=0.1"], "data.blurry=0.1: CIL cannot do"),
        (["strategy=joint", "data.online=true"], "data.online=True: Joint cannot do that"),
        (["strategy=er", "data.online=true", "epochs=3"], "epochs=3: data.online=true trains"),
        (["strategy=er", "data.labels=mine"], "data.labels=mine: give own or shared"),
        (["strategy=er", "evaluate_on=some"], "evaluate_on=some: give seen or all"),
    ],
)
def test_refusals(tmp_path: Path, options: list[str], message: str, capsys: Any) -> None:
    given = [option for option in FAST if not option.startswith("epochs")]
    assert execute(tmp_path / "run", *given, *options) == 2
    assert message in capsys.readouterr().err


def test_an_online_stream_passes_once(tmp_path: Path) -> None:
    options = [*FAST, "strategy=er", "data.online=true", "heads=multi"]
    assert execute(tmp_path, *options) == 0
    config = load_run(tmp_path).config
    assert config.epochs == 1
    images = sum(results_of(tmp_path)["images"]["train"])
    saved, _ = latest(tmp_path)
    assert saved is not None
    assert images / 32 <= saved.strategy["_learned"]["steps_trained"] <= images / 32 + 3


def test_lwf_of_one_head_has_one_term_over_the_classes_met_before() -> None:
    made = LwF(Network(small_body(), IncrementalHead), SGD, strength=0.7)
    for index in range(3):
        made.begin_task(toy_visit(index))
        with torch.no_grad():
            for p in made.network.parameters():
                p.add_(0.05 * torch.randn_like(p))
    batch = toy_visit(2).train[torch.arange(8)]
    every = made.network.heads.scores(made.network.body(batch.x))
    teacher = made.teacher
    assert teacher is not None
    former = teacher.heads.scores(teacher.body(batch.x))
    assert former.shape[1] == 6
    expected = F.cross_entropy(every, batch.y + 6) + 0.7 * distillation(every[:, :6], former, 2.0)
    torch.testing.assert_close(made.training_loss(batch), expected)


def test_one_head_is_held_like_the_body() -> None:
    names = {}
    for heads in (SingleHead, IncrementalHead):
        made = MAS(Network(small_body(), heads), SGD)
        made.begin_task(toy_visit(0))
        names[heads] = set(made.regularized_params())
        assert any(name.startswith("heads.") for name in names[heads])
        assert names[heads] == {name for name, _ in made.network.named_parameters()}


@pytest.mark.page
def test_what_is_measured_beside_changes_nothing(tmp_path: Path) -> None:
    options = [*FAST, *ADAM, "strategy=er", "heads=multi", "epochs=3"]
    assert execute(tmp_path / "plain", *options) == 0
    assert (
        execute(
            tmp_path / "more", *options, *MORE, "measure=[loss,confusion,calibration,per_class]"
        )
        == 0
    )
    plain, more = results_of(tmp_path / "plain"), results_of(tmp_path / "more")
    assert plain["accuracy"] == more["accuracy"]
    assert plain["validation"] == more["validation"]
    for name, value in plain["metrics"].items():
        assert more["metrics"][name] == value
    states = [latest(tmp_path / name)[0] for name in ("plain", "more")]
    assert alike(*(state.strategy for state in states if state is not None))
    for name in ("anytime_accuracy", "confusion", "confusion_class"):
        assert (tmp_path / "more" / "figures" / f"{name}.png").exists()


def test_a_task_to_come_is_asked_as_it_will_begin(tmp_path: Path) -> None:
    options = [*FAST, *ADAM, "strategy=finetune", "heads=multi", "epochs=3", "keep=all"]
    assert execute(tmp_path, *options, "evaluate_on=all") == 0
    found = results_of(tmp_path)["accuracy_ahead"]
    assert found[0][0] is None
    run = load_run(tmp_path, visit=1)
    stream = instantiate(run.config.data, _convert_="all")
    torch.manual_seed(derive(1, "init", 1))  # as the second visit begins
    run.strategy.begin_task(stream.visits[1])
    run.strategy.eval()
    tally = Tally()
    run.strategy.measure(
        stream.tasks[1].test[torch.arange(len(stream.tasks[1].test))], {"task": tally}
    )
    right, total = tally.counts()[1]
    assert found[0][1] == right / total


def test_forward_transfer_by_hand() -> None:
    nan = np.nan
    ahead = np.array([[nan, 0.6, 0.5], [nan, nan, 0.7], [nan, nan, nan]])
    untrained = np.array([0.5, 0.5, 0.4])
    assert forward_transfer(ahead, untrained, [0, 1, 2]) == pytest.approx((0.1 + 0.3) / 2)
    again = np.array([[nan, 0.6], [nan, 0.9], [nan, nan]])  # task 1 is met at the third visit
    assert forward_transfer(again, untrained[:2], [0, 0, 1]) == pytest.approx(0.4)


def test_why_a_run_failed_is_told_within_a_visit_that_is_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests of a visit that does not end are no part of the results of those that did."""
    step, done = ER.training_loss, list[int]()

    def failing(self: ER, *given: Any) -> Any:
        done.append(1)
        if len(done) > 14:  # in the second visit
            raise RuntimeError("CUDA out of memory")
        return step(self, *given)

    monkeypatch.setattr(ER, "training_loss", failing)
    options = ["strategy=er", "data=digits", "tasks=2", "epochs=1", "evaluate_every_steps=3"]
    assert execute(tmp_path, *options, "batch_size=32", "logger=none") == 1
    assert "CUDA out of memory" in capsys.readouterr().err
    results = results_of(tmp_path)
    assert (results["status"], len(results["visits"])) == ("failed", 2)


def test_anytime_metrics_by_hand() -> None:
    rows = [
        (1, {0: 0.5}), (1, {0: 0.9}), (2, {0: 0.4, 1: 0.6}), (2, {0: 0.8, 1: 1.0}),
        (3, {0: 0.7, 1: 0.3, 2: 0.5}),
    ]  # fmt: skip
    found = anytime(rows, [0, 1, 2], last=0.8)
    assert found["anytime_accuracy"] == pytest.approx((0.5 + 0.9 + 0.5 + 0.9 + 0.5) / 5)
    assert found["minimum_accuracy"] == pytest.approx((0.4 + 0.3) / 2)
    assert found["worst_case_accuracy"] == pytest.approx(0.8 / 3 + 2 / 3 * 0.35)
    alone = anytime(rows[:2], [0], last=0.9)
    assert alone["minimum_accuracy"] is None
    assert alone["worst_case_accuracy"] == 0.9


def test_a_blurred_run_is_read_back(tmp_path: Path, capsys: Any) -> None:
    """Its first visit has images of later tasks, which are not learned with it."""
    options = [*FAST, *ADAM, "strategy=mas", "heads=multi", "epochs=2", "data.blurry=0.2"]
    assert execute(tmp_path / "run", *options, "keep=all") == 0
    assert list(load_run(tmp_path / "run", visit=1).tasks) == [0]
    capsys.readouterr()
    assert evaluate.main([f"run={tmp_path / 'run'}", "visit=1"]) == 0
    shown = capsys.readouterr().out
    first = results_of(tmp_path / "run")["accuracy"][0][0]
    assert f"{100 * first:6.2f} %" in shown
    assert "task 2" not in shown
    assert export.main([str(tmp_path / "run"), str(tmp_path / "out"), "visit=1"]) == 0
    assert len(list((tmp_path / "out" / "models").glob("Task_*"))) == 1


def test_in_the_first_visit_of_a_blurred_stream_nothing_is_held_yet(tmp_path: Path) -> None:
    options = [*FAST, *ADAM, "strategy=mas", "heads=multi", "epochs=2", "data.blurry=0.2"]
    assert execute(tmp_path, *options, "strategy.halve_below=0.5") == 0
    rounds = results_of(tmp_path)["validation"]
    assert [key for key in rounds if key.startswith("1.")] == ["1.1"]
    assert len([key for key in rounds if key.startswith("2.")]) >= 2


def test_importances_of_each_score_where_tasks_have_unequally_many_classes(tmp_path: Path) -> None:
    options = [
        *FAST,
        "strategy=mas",
        "strategy.importance.objective=each_score",
        "heads=multi",
        "epochs=1",
    ]
    options += ["data.classes=[[0,1],[2,3,4],[5,6]]", "data.blurry=0.3", "strategy.strength=0.1"]
    assert execute(tmp_path, *options) == 0


def test_the_few_images_of_a_task_are_the_same_in_all_visits(tmp_path: Path) -> None:
    options = [*FAST, *ADAM, "strategy=finetune", "heads=multi", "epochs=2", "tasks=2"]
    options += ["data.order=[2,1]", "evaluate_every_steps=3", "evaluate_images=20"]
    found: dict[int, set[bytes]] = {}
    measure = Strategy.measure

    def watched(self: Strategy, batch: Any, tallies: Any) -> None:
        if len(batch.y) == 20:
            found.setdefault(int(batch.t[0]), set()).add(batch.row.numpy().tobytes())
        measure(self, batch, tallies)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Strategy, "measure", watched)
        assert execute(tmp_path, *options) == 0
    assert found.keys() == {0, 1}
    assert all(len(rows) == 1 for rows in found.values())


def test_a_search_is_tested_inside_visits_in_the_configuration_that_it_would_take(
    tmp_path: Path,
) -> None:
    options = [*FAST, *ADAM, "strategy=darts_hps", "epochs=3", "evaluate_every=0", "tasks=2"]
    used = []
    measure = Strategy.measure

    def watched(self: Any, batch: Any, tallies: Any) -> None:
        if self.searching:
            used.append(self.network.configs[self._task] == self.choice())
        measure(self, batch, tallies)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Strategy, "measure", watched)
        assert execute(tmp_path, *options, "evaluate_every_steps=2") == 0
    assert used
    assert all(used)


def test_answers_without_the_task_are_refused_where_they_mean_nothing(
    tmp_path: Path, capsys: Any
) -> None:
    options = [*FAST, "strategy=finetune", "heads=single", "epochs=1", "tasks=2"]
    assert execute(tmp_path / "run", *options) == 0
    assert evaluate.main([f"run={tmp_path / 'run'}", "evaluate=class"]) == 2
    assert "a single head does not tell the classes" in capsys.readouterr().err


def test_joint_training_tells_of_the_visits_that_it_is_measured_after(
    tmp_path: Path, capsys: Any
) -> None:
    options = [*FAST, "strategy=joint", "heads=multi", "epochs=1", "evaluate_on=all"]
    assert execute(tmp_path, *options) == 0
    assert "(1 of 3)" not in capsys.readouterr().out
    assert results_of(tmp_path)["accuracy_untrained"][0][2] is not None


@pytest.mark.page
def test_all_tasks_seen_are_tested_now_and_then(tmp_path: Path) -> None:
    options = [*FAST, *ADAM, "strategy=finetune", "heads=multi", "epochs=2", "tasks=4"]
    found = {}
    for every in ("null", "3", "9"):
        asked = [f"evaluate_every_visits={every}", "evaluate_on=all"]
        assert execute(tmp_path / every, *options, *asked) == 0
        found[every] = results_of(tmp_path / every)
    whole = found["null"]["accuracy"]
    for every, rows in (("3", (2, 3)), ("9", (3,))):
        for visit, (row, full) in enumerate(zip(found[every]["accuracy"], whole, strict=True)):
            alone = [value if task == visit else None for task, value in enumerate(full)]
            assert row == (full if visit in rows else alone)
        same = ("final_accuracy", "learning_accuracy", "backward_transfer", "forward_transfer")
        one, other = (found[name]["metrics"] for name in (every, "null"))
        assert [one[name] for name in same] == [other[name] for name in same]
    lines = (tmp_path / "9" / "train.log").read_text().splitlines()
    assert sum("mean of the tasks so far" in line for line in lines) == 2  # at the first, too
    assert execute(tmp_path / "none", *options, "evaluate_every_visits=0") == 2


@pytest.mark.parametrize(("way", "name"), [("task", ""), ("class", "_task")])
def test_forward_transfer_says_that_the_task_was_given(tmp_path: Path, way: str, name: str) -> None:
    options = [*FAST, *ADAM, "strategy=finetune", "heads=incremental", "epochs=1", "tasks=2"]
    assert execute(tmp_path, *options, "evaluate_on=all", f"evaluate={way}") == 0
    found = {key for key in results_of(tmp_path)["metrics"] if key.startswith("forward_transfer")}
    assert found == {f"forward_transfer{name}"}
