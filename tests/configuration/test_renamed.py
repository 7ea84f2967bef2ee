"""Options that had another name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import lifelong
from lifelong.configuration.compose import composed
from lifelong.configuration.renamed import OF, PARTS, RENAMED, renamed


def keys(node: object, above: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield above + key
        yield from keys(value, f"{above}{key}.")


def test_the_new_names_are_there_and_the_old_ones_are_not() -> None:
    found = set[str]()
    for name in ("tickets_bu", "ewc", "mas"):
        config = composed([f"strategy={name}", "kind=tf", "backbone=mlp"])
        found |= set(keys(OmegaConf.to_container(config)))
    search = set(keys(OmegaConf.to_container(composed(["strategy=lasem_hps"]))))
    assert {*RENAMED.values(), *PARTS.values()} <= found | search
    assert not (RENAMED.keys() - OF.keys()) & found


def test_the_page_has_all_of_them() -> None:
    page = Path(__file__).parents[2] / "docs" / "upgrading.md"
    lines = [
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    for old, new in {**RENAMED, **PARTS}.items():
        assert any(f"| `{old}" in line and f"`{new}" in line for line in lines), old
    assert len(lines) == len(RENAMED) + len(PARTS)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["strategy=tickets_bu", "strategy.share=0.3"], "strategy.prune_fraction=0.3"),
        (["strategy=lasem_tf", "strategy.prune_below=1e-6"], "strategy.narrowing.below=1e-6"),
        (["strategy=cil,tickets_td", "~strategy.most"], "~strategy.max_unlabeled"),
        (["strategy.network.kind.orthogonality=0.05"], "kind.orthogonality=0.05"),
        (["experiment=tickets/cifar10_bu", "+strategy.share=1"], "+strategy.prune_fraction=1"),
        (["strategy=wsn", "strategy.share=0.3"], "strategy.share=0.3"),  # of another method
        (["experiment=field/permuted10_wsn", "strategy.share=0.3"], "strategy.share=0.3"),
        (["strategy=mine", "strategy.share=0.3"], "strategy.share=0.3"),  # an own member
        (["strategy._target_=a.Mine", "strategy.share=0.3"], "strategy.share=0.3"),
        (
            ["strategy=mas", "strategy.importance=global,local"],
            "strategy.importance.scope=global,local",
        ),
        (["strategy=mas", "strategy.importance={samples: 3}"], "strategy.importance={samples: 3}"),
        (["strategy=ewc", "strategy.batch_size=7"], "strategy.importance.batch_size=7"),
        (["strategy=cil", "strategy.batch_size=7"], "strategy.batch_size=7"),
        (["strategy=ewc,mas", "strategy.samples=null"], "strategy.importance.samples=null"),
        (["heads.initials=uniform"], "heads.initials=uniform"),
    ],
)
def test_an_old_name_is_read_and_the_new_one_said(given: list[str], meant: str) -> None:
    notes: list[str] = []
    assert renamed(given, notes.append) == [*given[:-1], meant]
    assert bool(notes) == (given[-1] != meant)


def test_the_command_says_it(command: Callable[..., Any]) -> None:
    done = command("--cfg", "job", "strategy=tickets_bu", "strategy.share=0.3")
    assert "prune_fraction: 0.3" in done.stdout
    assert "note: strategy.share is strategy.prune_fraction now" in done.stderr


def test_from_python(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"heads\.initial is heads\.init now"):
        run = lifelong.learn(
            "heads.initial=uniform", strategy="finetune", data="digits", tasks=1, epochs=1,
            logger="none", trainer="cpu", paths={"output_dir": tmp_path / "run"},
        )  # fmt: skip
    assert run.config.heads.init == "uniform"


def test_a_file_with_an_old_name_is_told_the_new_one(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    own = tmp_path / "own" / "experiment" / "mine.yaml"
    own.write_text("# @package _global_\nheads: {initial: uniform}\n")
    done = command(f"--config-dir={own.parent.parent}", "experiment=mine", "data=digits")
    assert done.returncode == 2
    assert "heads.initial: is heads.init now" in done.stderr


def test_an_object_s_option_keeps_its_name() -> None:
    notes: list[str] = []
    given = ["strategy.share=0.3", "heads.initial=uniform"]
    found = renamed(given, notes.append, own=["strategy"])
    assert found == ["strategy.share=0.3", "heads.init=uniform"]
