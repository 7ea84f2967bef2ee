"""What is no choice of a member, before Hydra sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifelong import learn
from lifelong.configuration.choices import check_choices, given_by_experiments
from lifelong.configuration.compose import composed
from lifelong.configuration.keys import check_known
from lifelong.configuration.mistakes import check
from lifelong.configuration.overrides import key_of


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("strategy=[ewc,er]", r"a run has one; several are several runs: -m strategy=ewc,er"),
        ("data=null", r"names no member; give data=\.\.\."),
        ("measure=[]", r"names no member; give measure=accuracy"),
        ("~logger", r"every run has one; give logger=none"),
        ("~strategy", r"every run has one; give strategy=\.\.\."),
        ("~epochs", r"every run has one; give epochs=\.\.\."),
    ],
)
def test_no_choices(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as raised:
        check_choices([text])
    assert str(raised.value).startswith(f"{text}: ")


def test_choices() -> None:
    check_choices(
        ["strategy=ewc", "logger=[csv,wandb]", "search=null", "~strategy.network", "lr=1"]
    )


HEAD = "# @package _global_\n"
FILES = [
    ("strategy", "", "holds no options"),
    ("strategy", "- a\n- b\n", "holds no options"),
    ("strategy", "a: [1\nb: 2\n", "is no YAML .while parsing"),
    ("strategy", "_target_: lifelong.ER\n", "gives the method no network and no optimizer"),
    ("strategy", "strategy:\n  memory: 3\n", "gives the method no network and no optimizer"),
    ("experiment", f"# mine\n{HEAD}epochs: 1\n", "its first line must be `# @package _global_`"),
    ("experiment", f"{HEAD}strategy: er\n", "write below `defaults:` the line `- override /strat"),
]


@pytest.mark.parametrize(("group", "text", "told"), FILES)
def test_files_of_ones_own(tmp_path: Path, group: str, text: str, told: str) -> None:
    path = tmp_path / group / "mine.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=told) as raised:
        check_choices([f"{group}=er,mine"], str(tmp_path))
    assert str(raised.value).startswith(f"{path}: ")
    check_choices([f"{group}=er"], str(tmp_path))


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--config-dir nowhere: is no folder"):
        check_choices([], "nowhere")
    check_choices([], str(tmp_path))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("epoch: 1", "epoch=1: nothing reads it; did you mean epochs?"),
        (
            "paths: {output_dirr: a}",
            r"paths.output_dirr=a: nothing reads it; did you mean paths.out",
        ),
        ("seeds: {inits: 7}", "seeds.inits=7: nothing reads it; did you mean seeds.init?"),
        (
            "protocol: {epoch: 7}",
            "protocol.epoch=7: nothing reads it; did you mean protocol.epochs",
        ),
        ("zzz: 7", "zzz=7: nothing reads it; leave it out"),
    ],
)
def test_an_experiment_of_ones_own_gives_what_is_read(tmp_path: Path, more: str, told: str) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(f"{HEAD}defaults:\n  - override /strategy: ewc\n{more}\n")
    with pytest.raises(ValueError, match=told):
        check([["experiment=mine", "data=digits"]], str(tmp_path))
    path.write_text(f"{HEAD}defaults:\n  - override /strategy: ewc\nmine: 5\nepochs: ${{mine}}\n")
    check([["experiment=mine", "data=digits"]], str(tmp_path))


def test_an_experiment_of_ones_own_chooses_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    start = f"{HEAD}defaults:\n  - override /strategy: ewc\n  - override /data: digits\n"
    path.write_text(f"{start}  - override /transfer: top2\n")
    with pytest.raises(ValueError, match="transfer: strategy=ewc on data=digits does not read tra"):
        check([["experiment=mine"]], str(tmp_path))
    path.write_text(f"{start}  - override /backbone: mlp\nstrategy: {{strength: 3}}\n")
    check([["experiment=mine"]], str(tmp_path))
    assert given_by_experiments(["experiment=mine", "seed=3"], str(tmp_path)) == [
        "strategy", "data", "backbone", "strategy.strength",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        "mine: {rate: 3}\nlr: ${mine.rate}",
        "alpha: 0.01\nlr: ${oc.select:alpha,0.1}",
        "tag: foo\nname: m_${tag}",
        "every: 1\ncheckpoint_every: ${every}",
        "paths: {home: here, data_dir: '${paths.home}/data'}",
    ],
)
def test_keys_of_ones_own_that_others_refer_to(tmp_path: Path, more: str) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    for head in (HEAD, "#@package _global_\n", f"\n{HEAD}"):
        path.write_text(f"{head}defaults:\n  - override /strategy: ewc\n{more}\n")
        check_choices(["experiment=mine"], str(tmp_path))
        check([["experiment=mine", "data=digits"]], str(tmp_path))


@pytest.mark.parametrize("text", ["+paths.datadir=x", "+seeds.inits=5", "+protocol.epoch=5"])
def test_what_a_plus_adds_is_read(text: str) -> None:
    with pytest.raises(ValueError, match=rf"{key_of(text)}=[x5]: nothing reads it"):
        check_known(composed(["data=digits", text]))


@pytest.mark.parametrize("text", ["strategy=ewc.yaml", "strategy=./ewc", "data=digits.yaml"])
def test_a_member_has_one_name(text: str) -> None:
    group, _, name = text.partition("=")
    told = name.removeprefix("./").removesuffix(".yaml")
    with pytest.raises(ValueError, match=rf"go by the name of a member; give {group}={told}$"):
        composed(["data=digits", text] if group != "data" else [text])


@pytest.mark.parametrize("given", [{"data": None}, {"data": "digits", "logger": None}])
def test_the_same_from_python(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"=null: names no member"):
        learn(strategy="finetune", **given)
