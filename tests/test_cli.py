"""The command `lifelong`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lifelong import __version__, cli
from lifelong.cli import COMMANDS
from lifelong.configuration.completion import SHELLS
from lifelong.configuration.members import members
from tests.processes import ROOT


def called(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lifelong", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0)


def test_the_page_names_every_command(capsys: Any) -> None:
    assert called() == 0
    page = capsys.readouterr().out
    assert all(f"lifelong {name} " in page for name in COMMANDS)
    assert called("--version") == 0
    assert capsys.readouterr().out.strip() == __version__
    assert called("comprae") == 2
    assert "comprae: there is no such command; did you mean compare?" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page(name: str, capsys: Any) -> None:
    assert called(name, "--help") == 0
    assert capsys.readouterr().out.strip()


def test_members_are_listed_by_words(tmp_path: Path, capsys: Any) -> None:
    assert called("list") == 0
    listed = capsys.readouterr().out
    assert all(group in listed for group in ("strategy", "experiment"))
    assert called("list", "experiments", "tag", "CUB", "ewc") == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows
    assert all("tag" in row and "cub" in row.lower() and "ewc" in row.lower() for row in rows)
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text("# a method of mine\n_target_: my.Mine\n")
    assert called("list", "strategies", f"config_dir={tmp_path}") == 0
    assert "a method of mine" in capsys.readouterr().out
    assert called("run", "--help", "--config-dir", str(tmp_path)) == 0
    assert "mine " in capsys.readouterr().out
    for given, message in (
        (["list", "nonsense"], "nonsense: there is no such group; give augment, backbone"),
        (["list", "data", "zzz"], "zzz: no member of data has these words"),
        (["list", "data", "config_dir=/nowhere"], "config_dir=/nowhere: is no folder"),
    ):
        assert called(*given) == 2
        assert message in capsys.readouterr().err


def test_a_member_is_copied_to_be_changed(tmp_path: Path, capsys: Any) -> None:
    assert called("run", "--copy", "er", str(tmp_path)) == 0
    own = tmp_path / "strategy" / "my_er.yaml"
    assert own.read_text() == members("strategy")["er"].text()
    assert "strategy=my_er" in capsys.readouterr().out
    own.write_text(own.read_text().replace("memory: 0", "memory: 7"))
    assert called("run", "--copy", "er", str(tmp_path)) == 2
    assert "is there already" in capsys.readouterr().err
    assert called("run", "--copy", "nonsense", str(tmp_path)) == 2
    assert "--copy nonsense: there is no such member" in capsys.readouterr().err
    assert called("run", "--copy", "search/mas", str(tmp_path)) == 0
    assert (tmp_path / "search" / "my_mas.yaml").exists()
    made = subprocess.run(
        [sys.executable, "-m", "lifelong.cli", "run", "--config-dir", str(tmp_path),
         "strategy=my_er", "data=digits", "--cfg", "job"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "lifelong.strategies.ER" in made.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_of_shells(shell: str, capsys: Any) -> None:
    assert called("completion", shell) == 0
    assert "lifelong completion words" in capsys.readouterr().out
    assert called("completion", "cmd") == 2
    assert "cmd: give bash, zsh, fish" in capsys.readouterr().err


def test_bash_completes(tmp_path: Path) -> None:
    """As bash itself calls it, where = breaks words."""
    command = tmp_path / "lifelong"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m lifelong.cli "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(lifelong completion bash)"; COMP_LINE="lifelong run strategy=lasem_h"; '
        "COMP_POINT=${#COMP_LINE}; compopt() { :; }; _lifelong; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout.strip() in ("lasem_hps", "strategy=lasem_hps")


def test_rows_that_are_none_are_told(capsys: Any) -> None:
    assert called("reproduce", "tag/cifar100_re") == 2
    assert "tag/cifar100_re: there is no such row; did you mean" in capsys.readouterr().err
    assert called("reproduce") == 2
    assert "ROW: give one or more" in capsys.readouterr().err
