"""What a sweep tells while it runs, and which GPU each of its runs gets."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lifelong.sweeps.plan import Plan, plan
from lifelong.sweeps.standing import note_failure, sweep_status
from lifelong.sweeps.watch import SweepMonitor, assign_gpu
from lifelong.training import machine


def written(folder: Path, name: str, status: str, final: float | None = None) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "config.yaml").write_text("")
    results = {"status": status, "metrics": {"final_accuracy": final}}
    (folder / name / "results.json").write_text(json.dumps(results))


def test_what_a_sweep_tells(tmp_path: Path) -> None:
    made = Plan(tmp_path, 4, (), parallel=False)
    written(tmp_path, "a", "finished", 0.5)
    out = io.StringIO()
    with SweepMonitor(made, Console(file=out, width=200)):
        written(tmp_path, "b", "finished", 0.75)
        written(tmp_path, "c", "running")
        note_failure(tmp_path / "d", "batch_size=9: too many\nmore")
    told = out.getvalue()
    assert "b: final accuracy 75.0 %; 2 of 4 done" in told
    assert "2 runs finished (1 of them before), 1 failed" in told
    assert "failed: d: batch_size=9: too many\n" in told
    assert "the same command goes on" in told
    assert sweep_status(tmp_path).running == ["c"]
    note_failure(tmp_path / "d", None)
    assert not (tmp_path / "failures").exists()


@pytest.mark.parametrize("text", ["name=x[/b]: no", "layers=[1, 0]: give 4", "a [red]b", "x:cat:y"])
def test_texts_of_a_sweep_are_no_markup(tmp_path: Path, text: str, capsys: Any) -> None:
    """A reason, which has a person's own value in it, is printed as it is."""
    with SweepMonitor(Plan(tmp_path, 2, (), parallel=False)):
        note_failure(tmp_path / "d", text)
    assert f"failed: d: {text}\n" in capsys.readouterr().out


def test_gpus_in_turn() -> None:
    def given(number: int, launcher: str = "joblib", **env: str) -> dict[str, str]:
        settings: Any = SimpleNamespace(
            runtime=SimpleNamespace(choices={"hydra/launcher": launcher}),
            job=SimpleNamespace(num=number),
        )
        assign_gpu(settings, env)
        return env

    assert given(0, CUDA_VISIBLE_DEVICES="4,7")["CUDA_VISIBLE_DEVICES"] == "4"
    assert given(3, CUDA_VISIBLE_DEVICES="4,7")["CUDA_VISIBLE_DEVICES"] == "7"
    assert given(3, CUDA_VISIBLE_DEVICES="4,7", LIFELONG_GPU="4")["CUDA_VISIBLE_DEVICES"] == "4,7"
    assert given(3, "basic", CUDA_VISIBLE_DEVICES="4,7")["CUDA_VISIBLE_DEVICES"] == "4,7"
    assert given(1, CUDA_VISIBLE_DEVICES="4") == {"CUDA_VISIBLE_DEVICES": "4"}


def test_runs_that_begin_at_once_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setenv(machine.LIMIT, "")
    monkeypatch.delenv(machine.LIMIT)
    given = ["seed=1,2", f"paths.output_dir={tmp_path}", "hydra/launcher=submitit_local"]
    made = plan(given)
    assert made is not None
    with SweepMonitor(made):
        assert os.environ[machine.LIMIT] == "4"
