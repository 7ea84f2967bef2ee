"""A run's folder is its own: new or empty, one process at a time, of one configuration."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lifelong import load_run
from lifelong.comparison import compare
from lifelong.configuration.folders import check_run, output_folder, run_folder, taken
from lifelong.report.page import write_report
from lifelong.storage.locks import LOCK, held
from tests.conftest import configured, execute, results_of

QUICK = ["strategy=finetune", "data=digits", "data.fraction=0.2", "tasks=2", "epochs=1"]
QUICK += ["batch_size=16", "logger=none", "trainer=cpu"]


@pytest.mark.parametrize("ask", [load_run, check_run, write_report])
def test_a_folder_without_a_run_says_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^nowhere: there is no such folder; give the"):
        ask(Path("nowhere"))
    Path("nowhere").mkdir()
    with pytest.raises(ValueError, match=r"^nowhere: holds no run \(no config.yaml\)"):
        ask(Path("nowhere"))
    for seed in (1, 2):
        Path(f"nowhere/seed={seed}").mkdir()
        Path(f"nowhere/seed={seed}/config.yaml").write_text("")
    with pytest.raises(ValueError, match="holds 2 runs; give one of them, such as nowhere/seed=1"):
        ask(Path("nowhere"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert execute(folder, *QUICK) == 0
    return folder


@pytest.fixture
def stopped(whole: Path, tmp_path: Path) -> Path:
    """A copy of the run as if it had been stopped at its end."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text.replace('"finished"', '"running"'))
    return folder


@pytest.mark.parametrize(
    "mine", ["results.json", "report.html", "notes.txt", ".draft.tmp", "task_list.ckpt"]
)
@pytest.mark.parametrize("resume", [[], ["resume=auto"]])
def test_a_folder_of_other_files_is_left_alone(
    tmp_path: Path, mine: str, resume: list[str], capsys: Any
) -> None:
    (tmp_path / mine).write_text("mine")
    assert execute(tmp_path, *QUICK, *resume) == 2
    told = capsys.readouterr().err
    assert f"paths.output_dir={tmp_path}: holds {mine!r}" in told
    assert [path.name for path in tmp_path.iterdir()] == [mine]
    assert (tmp_path / mine).read_text() == "mine"


def test_checkpoints_without_a_configuration_are_left_alone(stopped: Path, capsys: Any) -> None:
    (stopped / "config.yaml").unlink()
    before = sorted(path.name for path in stopped.iterdir())
    assert execute(stopped, *QUICK, "resume=auto") == 2
    assert "checkpoints and no config.yaml" in capsys.readouterr().err
    assert sorted(path.name for path in stopped.iterdir()) == before


def test_checkpoints_of_another_configuration_are_refused(stopped: Path, capsys: Any) -> None:
    """Whatever config.yaml says: it may have been edited, or copied here."""
    other = OmegaConf.load(stopped / "config.yaml")
    other.lr = 0.5
    other.optimizer.lr = 0.5
    other.strategy.optimizer.lr = 0.5
    (stopped / "config.yaml").write_text(OmegaConf.to_yaml(other))
    assert execute(stopped, *QUICK, "lr=0.5", "resume=auto") == 2
    assert "belong to another configuration" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_name_is_refused(value: str) -> None:
    config = configured(*QUICK)
    config.paths.output_dir = value
    with pytest.raises(ValueError, match=r"paths\.output_dir=: is empty"):
        output_folder(config, "a", "b")


def _take(folder: str, results: Any) -> None:
    results.put(taken(Path(folder)))


def test_of_several_processes_one_gets_the_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_take, args=(str(tmp_path / "x"), results)) for _ in range(6)]
    for worker in workers:
        worker.start()
    assert sorted(results.get(timeout=30) for _ in workers) == [False] * 5 + [True]
    for worker in workers:
        worker.join()


def test_a_second_process_is_refused(tmp_path: Path, capsys: Any) -> None:
    with held(tmp_path):
        assert execute(tmp_path, *QUICK) == 4
    assert " is at work in it; wait for its end" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert execute(tmp_path, *QUICK) == 0
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_serves(
    whole: Path, stopped: Path, damage: bytes | None, capsys: Any
) -> None:
    path = stopped / "visit_02.ckpt"
    path.write_bytes(path.read_bytes()[:1000] if damage is None else damage)
    assert execute(stopped, *QUICK, "resume=auto") == 0
    told = capsys.readouterr().out
    assert "visit_02.ckpt: not a checkpoint of a run" in told
    assert "the run goes on from the one before" in told
    assert results_of(stopped) == results_of(whole)
    states = [torch.load(f / "visit_02.ckpt", weights_only=True) for f in (whole, stopped)]
    for name, value in states[0]["strategy"].items():
        if torch.is_tensor(value):
            assert torch.equal(value, states[1]["strategy"][name])


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [", "just text", "x: 1"])
def test_a_damaged_configuration_is_named(stopped: Path, content: str, capsys: Any) -> None:
    (stopped / "config.yaml").write_text(content)
    assert execute(stopped, *QUICK, "resume=auto") == 2
    told = capsys.readouterr().err
    assert f"{stopped / 'config.yaml'}: " in told
    with pytest.raises(ValueError, match=r"config\.yaml: "):
        load_run(stopped)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", ""), ("config.yaml", "[1]"), ("results.json", ""), ("results.json", "{"),
        ("results.json", "[]"), ("results.json", '{"status": "finished"}'),
    ],
)  # fmt: skip
def test_a_damaged_run_is_named_and_left_out(
    whole: Path, tmp_path: Path, file: str, content: str, capsys: Any
) -> None:
    shutil.copytree(whole, tmp_path / "good")
    shutil.copytree(whole, tmp_path / "bad")
    (tmp_path / "bad" / file).write_text(content)
    assert compare.main([str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "`finetune` | 1 |" in captured.out
    assert str(tmp_path / "bad") in captured.err


def test_a_refusal_leaves_no_folder(tmp_path: Path) -> None:
    assert execute(tmp_path / "a" / "b", *QUICK, "batch_size=100000") == 2
    assert not (tmp_path / "a").exists()


def test_different_values_have_different_folders() -> None:
    name = run_folder
    assert name("seed=1,strategy=hps") == "seed=1_strategy=hps"
    assert name("experiment=tag/cifar100_er") == "experiment=tag_cifar100_er"
    groups = ("classes=[[0,1,2],[3,4]]", "classes=[[0,1],[2,3,4]]", "root=/a/b", "root=/a_b")
    assert len({name(text) for text in groups}) == 4
    assert name("lr=" + "1" * 200) != name("lr=" + "1" * 201)


def test_a_run_goes_on_in_its_own_folder(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    for name in ("config.yaml", "environment.json"):
        (run / name).write_text("{}")
    (run / "results.json").write_text('{"status": "stopped"}')
    config = configured("data=digits", f"resume={run}", f"paths.output_dir={other}")
    with pytest.raises(ValueError, match=r"paths\.output_dir=.*other: a run goes on in its own"):
        output_folder(config, "er", "digits")
    config.paths.output_dir = str(run)
    assert output_folder(config, "er", "digits") == run
