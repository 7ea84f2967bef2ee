"""Runs in this process: refusals that need the objects, and ends of runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lifelong import run
from lifelong.comparison.compare import compare
from lifelong.comparison.groups import grouped
from lifelong.comparison.runs import read
from lifelong.storage.files import sealed
from lifelong.strategies import Strategy
from lifelong.training.experiment import Experiment
from tests.conftest import configured, execute, results_of

QUICK = ["data=digits", "tasks=2", "epochs=2", "batch_size=32", "logger=none", "trainer=cpu"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["strategy=hps", "transfer=search"], "gives 16 configurations to choose from"),
        (["strategy=finetune", "evaluate=both"], "evaluate=both: a single head"),
        (
            ["strategy=mas", "strategy.importance.images=val", "data.validation=0"],
            "strategy.importance.images=val: task 1 has no such images",
        ),
        (
            ["strategy=mas", "strategy.importance.images=tests"],
            "strategy.importance.images: ",
        ),
        (
            ["strategy=mas", "strategy.importance.scope=local", "backbone=preact_resnet18"],
            "strategy.importance.scope=local: body.",
        ),
        (
            [
                "strategy=mas",
                "strategy.importance.scope=local",
                "strategy.importance.estimator=batched",
            ],
            "strategy.importance.scope=local: has no strategy.importance.estimator=batched",
        ),
        (
            ["strategy=mas", "strategy.halve_below=0.8", "optimizer_lifetime=stream"],
            "optimizer_lifetime=stream: MAS cannot do that",
        ),
        (["strategy=mas", "strategy.halve_below=0.8", "data.validation=0"], "no validation images"),
        (["strategy=finetune", "augment=pad"], "backbone.shape=[1, 32, 32]: training images are"),
        (
            ["strategy=finetune", "data=folders", "data.roots=birds"],
            "data.roots=birds: give a list, [birds]",
        ),
        (
            ["strategy=lwf", "heads=matrix", "strategy.warmup_epochs=2"],
            "strategy.warmup_epochs=2: one head or output matrix",
        ),
        (["strategy=lasem_hps", "backbone=resnet17"], "transfer.groups=None: 17 layers"),
        (["checkpoint_every=3", "evaluate_every=2"], "give a multiple of evaluate_every=2"),
        (["heads=single", "data.tasks=3", "tasks=null"], "heads=single: task 2 has 3 classes"),
        (
            ["strategy=finetune", "+schedule.decay=0.5"],
            "schedule.decay: lifelong.optim.constant",
        ),
        (["strategy=finetune", "+backbone.depth=3"], "leave it out with ~backbone.depth"),
        (["+trainer.accumulate_grad_batches=2"], "give a larger batch_size instead"),
        (
            ["strategy=finetune", "optimizer=tag_adam", "trainer.precision=bf16-true"],
            "TAG's moments need 32 bits",
        ),
        (
            ["strategy=darts_hps", "strategy.arch_data=valid", "measure_on=validation"],
            "learns from the validation images",
        ),
    ],
)
def test_refusals(tmp_path: Path, capsys: Any, options: list[str], message: str) -> None:
    assert execute(tmp_path, *QUICK, *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_stream_repeated(tmp_path: Path) -> None:
    assert execute(tmp_path, *QUICK, "strategy=mtl", "data.repeat=2") == 0
    results = results_of(tmp_path)
    assert results["visits"] == [1, 2, 1, 2]
    assert len(results["accuracy"]) == 4
    assert configured("strategy=mtl").data.repeat == 6


def test_measuring_on_validation_images_leaves_test_images_alone(tmp_path: Path) -> None:
    """The accuracies are those that the measured validation images give."""
    options = [*QUICK, "strategy=finetune"]
    assert execute(tmp_path / "test", *options) == 0
    assert execute(tmp_path / "validation", *options, "measure_on=validation") == 0
    one, other = results_of(tmp_path / "test"), results_of(tmp_path / "validation")
    assert (one["measured_on"], other["measured_on"]) == ("test", "validation")
    assert other["images"]["test"] == other["images"]["val"] == one["images"]["val"]
    validated = [curve["accuracy"][-1] for curve in one["validation"].values()]
    learned = [row[task] for task, row in enumerate(other["accuracy"])]
    assert learned == pytest.approx(validated, abs=1e-6)
    table = (tmp_path / "validation" / "accuracy.csv").read_text()
    assert ",validation," in table
    assert ",test," not in table
    assert execute(tmp_path / "none", *options, "measure_on=validation", "data.validation=0") == 2


def test_resume_auto_needs_a_folder(capsys: Any) -> None:
    assert run.execute(configured(*QUICK, "resume=auto"), "lasem_hps", "digits") == 2
    assert "resume=auto: also give paths.output_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["strategy=lasem_hps", "transfer=search", "transfer.groups=[2,2]"],
        ["strategy=hps", "evaluate_every=0", "data.validation=0"],
        ["strategy=hps", "schedule=inverse_time", "optimizer=adam", "backbone=mlp"],
        ["strategy=lasem_hps", "strategy.prior=fixed", "strategy.fixed=1100"],
        ["strategy=hps", "data.order=[1,2,1]", "tasks=null"],
    ],
)
@pytest.mark.page
def test_uncommon_combinations_run(tmp_path: Path, options: list[str]) -> None:
    assert execute(tmp_path, *QUICK, *options) == 0
    assert results_of(tmp_path)["status"] == "finished"
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("data", ["digits", "cifar100"])
@pytest.mark.parametrize("schedule", ["constant", "inverse_time"])
def test_every_schedule_goes_with_every_stream(data: str, schedule: str) -> None:
    from hydra.utils import instantiate

    config = configured(f"data={data}", f"schedule={schedule}")
    assert instantiate(config.schedule)(0) == 1.0


def test_a_diverged_run_says_so(tmp_path: Path, capsys: Any) -> None:
    assert execute(tmp_path, *QUICK, "strategy=hps", "optimizer=sgd", "lr=1e30") == 1
    assert capsys.readouterr().err.startswith("failed: the training loss became")
    assert results_of(tmp_path)["status"] == "failed"


def test_a_failing_method_leaves_its_report_of_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    learn = Experiment._learn

    def fail(self: Experiment, visit: Any, saved: Any) -> None:
        if visit.number == 2:
            raise RuntimeError("planted")
        learn(self, visit, saved)

    monkeypatch.setattr(Experiment, "_learn", fail)
    assert execute(tmp_path, *QUICK, "strategy=lasem_hps") == 1
    told = f"failed: RuntimeError: planted; the traceback is in {tmp_path / 'train.log'}\n"
    assert capsys.readouterr().err == told
    assert 'raise RuntimeError("planted")' in (tmp_path / "train.log").read_text()
    monkeypatch.setenv("LIFELONG_FULL_ERROR", "1")
    with pytest.raises(RuntimeError, match="planted"):
        execute(tmp_path, *QUICK, "strategy=lasem_hps", "resume=auto")
    results = results_of(tmp_path)
    assert results["status"] == "failed"
    assert "chosen" in results["method"]["tasks"]["1"]
    monkeypatch.undo()
    assert execute(tmp_path, *QUICK, "strategy=lasem_hps", "resume=auto") == 0
    assert results_of(tmp_path)["status"] == "finished"


@pytest.mark.page
def test_a_report_that_was_not_written_is_made_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(folder: Path, trust: bool) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lifelong.report.page.write_report", die)
        with pytest.raises(KeyboardInterrupt):
            execute(tmp_path, *QUICK, "strategy=hps")
    assert not (tmp_path / "report.html").exists()
    assert execute(tmp_path, *QUICK, "strategy=hps", "resume=auto") == 0
    assert (tmp_path / "report.html").exists()


def test_other_images_are_noticed(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "run"
    assert execute(folder, *QUICK, "strategy=hps") == 0
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(sealed(results | {"status": "running"})))
    path = folder / "visit_02.ckpt"
    import torch

    state = torch.load(path, weights_only=True)
    state["record"]["images"]["checksum"] += 1
    torch.save(state, path)
    assert execute(folder, *QUICK, "strategy=hps", "resume=auto") == 2
    assert "the images are not those that the run began with" in capsys.readouterr().err


def test_end_task_finds_the_network_where_the_images_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Trainer leaves the network on the CPU; it is brought back before the task ends."""
    calls: list[str] = []
    for name in ("to", "cpu", "end_task"):
        original = getattr(Strategy, name)

        def noted(
            self: Strategy, *arguments: Any, _name: str = name, _original: Any = original
        ) -> Any:
            calls.append(_name)
            return _original(self, *arguments)

        monkeypatch.setattr(Strategy, name, noted)
    assert execute(tmp_path, *QUICK, "strategy=hps") == 0
    for position in (i for i, call in enumerate(calls) if call == "end_task"):
        assert calls[position - 1] == "to"


def test_the_configuration_is_kept_as_composed(tmp_path: Path) -> None:
    assert execute(tmp_path, *QUICK, "strategy=hps", "lr=0.01") == 0
    kept = OmegaConf.load(tmp_path / "config.yaml")
    assert (kept.lr, kept.optimizer.lr, kept.epochs) == (0.01, 0.01, 2)


def test_sizes_and_frequency_are_reported(tmp_path: Path) -> None:
    assert execute(tmp_path, *QUICK, "strategy=lasem_hps") == 0
    results = results_of(tmp_path)
    single = results["parameters_of_a_single_network"]
    assert single < results["parameters"] <= 2 * single
    chosen = [entry["chosen"] for entry in results["method"]["tasks"].values()]
    shares = [sum(int(config[layer]) for config in chosen) / 2 for layer in range(4)]
    assert results["method"]["transfer_frequency"] == shares


@pytest.mark.slow
def test_lasem_is_no_worse_than_sharing_everything_on_digits(tmp_path: Path) -> None:
    """The default job over seeds 1 to 3."""
    final = {"hps": 0.0, "lasem_hps": 0.0}
    for strategy in final:
        for seed in (1, 2, 3):
            folder = tmp_path / f"{strategy}_{seed}"
            assert execute(folder, f"strategy={strategy}", f"seed={seed}", "logger=none") == 0
            final[strategy] += results_of(folder)["metrics"]["final_accuracy"] / 3
    assert final["lasem_hps"] >= final["hps"] - 0.005


def _cells(table: str) -> list[tuple[str, str]]:
    """Headings and cells of the one row of a Markdown table."""
    heads, _, row = [line for line in table.splitlines() if line.startswith("|")][:3]
    return list(zip(*(map(str.strip, line.split("|")) for line in (heads, row)), strict=True))


@pytest.mark.page
def test_accuracy_without_the_task_given(tmp_path: Path) -> None:
    """`class` measures what `both` has beside the other; training is the same."""
    options = ["data=digits", "strategy=finetune", "heads=multi", "epochs=4", "batch_size=32"]
    options += ["optimizer=adam", "lr=0.003", "tasks=3", "logger=none"]
    found = {}
    for how in ("task", "both", "class"):
        assert execute(tmp_path / how, *options, f"evaluate={how}") == 0
        found[how] = results_of(tmp_path / how)
        assert found[how]["evaluate"] == how.replace("both", "task")
    assert found["class"]["accuracy"] == found["both"]["accuracy_class"]
    assert found["task"]["accuracy"] == found["both"]["accuracy"]
    assert found["class"]["accuracy"][2][0] < found["task"]["accuracy"][2][0]
    assert found["class"]["accuracy_task"] == found["task"]["accuracy"]
    assert results_of(tmp_path / "task") == results_of(tmp_path / "both")
    for name, value in found["class"]["metrics"].items():
        if "peak" not in name and not name.endswith("_task"):
            assert found["both"]["metrics"][f"{name}_class"] == value
            assert found["both"]["metrics"][name] == found["task"]["metrics"][name]
    told = (tmp_path / "both" / "train.log").read_text()
    last = found["class"]["metrics"]["final_accuracy"]
    assert f"class-incremental: accuracy {100 * found['class']['accuracy'][2][2]:.1f} %" in told
    assert re.search(rf"final accuracy .* {100 * last:.1f} %", told)
    for name in ("accuracy_matrix", "accuracy_curves"):
        without = tmp_path / "both" / "figures" / f"{name}_class.png"
        assert without.read_bytes() == (tmp_path / "class" / "figures" / f"{name}.png").read_bytes()
    page = (tmp_path / "both" / "report.html").read_text()
    assert "final accuracy, class-incremental" in page
    text, *_ = compare([tmp_path / "both"], tmp_path / "out")
    assert f"{100 * last:.1f}" in dict(_cells(text))["final %, class-incremental"]
    assert (tmp_path / "out" / "comparison_figures" / "accuracy_along_stream_class.png").exists()
    (row,) = grouped(read([tmp_path / "class"])[0])
    assert row.table.endswith("class-incremental")
    single = [*options, "heads=single", "evaluate=class", f"paths.output_dir={tmp_path}/no"]
    assert execute(tmp_path / "no", *single[:-1]) == 2
