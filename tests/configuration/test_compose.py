"""Values that other choices decide, and what is noted of the choices."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from lifelong.configuration.compose import FOLDER, main_file, note_choices
from tests.conftest import configured


@pytest.mark.parametrize(
    ("data", "optimizer", "name", "value"),
    [
        ("cub", "adam", None, 1),
        ("cub", "sgd", None, 2),
        ("mine", "adam", "cub", 1),  # a copy of the member, whose stream keeps its name
        ("digits", "adam", "digits", 3),
        (None, "sgd", "cub", 2),
    ],
)
def test_the_choices_of_groups_decide(
    data: str | None, optimizer: str, name: str | None, value: int
) -> None:
    config = OmegaConf.create({
        "choices": {"data": data, "optimizer": optimizer}, "data": {"name": name},
        "x": "${by:data+optimizer,{cub+adam: 1, cub+sgd: 2},3}",
    })  # fmt: skip
    assert config.x == value


def test_fidelity_decides() -> None:
    for fidelity, value in (("clean", 1), ("authors", 2)):
        config = OmegaConf.create({"fidelity": fidelity, "x": "${by_fidelity:1,2}"})
        assert config.x == value


def noted(overrides: list[str], experiment: str | None = "tag/cub_er") -> Any:
    chosen = {"experiment": experiment, "strategy": "er", "logger": "csv", "debug": None,
              "hydra/launcher": "basic"}  # fmt: skip
    config = OmegaConf.create({"search": None, "choices": None, "changed": None})
    note_choices(config, chosen, overrides)
    return config


def test_members_are_noted_that_say_something_of_the_results() -> None:
    assert noted([]).choices == {"experiment": "tag/cub_er", "strategy": "er"}


def test_of_an_experiment_it_is_noted_what_was_changed() -> None:
    """As it is always written; the last of two values counts."""
    given = ["experiment=tag/cub_er", "seed=3", "data.order_seed=2", "lr=0.1", "epochs=2", "lr=0.2"]
    given += ["name=mine", "logger=none", "keep=all", "seeds.init=4", "paths.data_dir=x"]
    given += ["++schedule.at=[1, 2]", "evaluate_every=2", "trainer.accelerator=gpu"]
    assert noted(given).changed == [
        *("data.order_seed=2", "epochs=2", "evaluate_every=2", "lr=0.2", "schedule.at=[1,2]"),
        "seeds.init=4",
    ]
    assert noted(["lr=0.1"], experiment=None).changed is None


@pytest.mark.parametrize(
    ("trainer", "same"),
    [("cpu", True), ("gpu", True), ("ddp", True), ("bf16", False), ("compile", False)],
)
def test_a_row_is_the_same_on_another_device_and_not_in_other_arithmetic(
    trainer: str, same: bool
) -> None:
    changed = configured("experiment=tag/cifar100_er", f"trainer={trainer}").changed
    assert changed == ([] if same else [f"trainer={trainer}"])


def test_a_search_needs_a_sweep() -> None:
    config = OmegaConf.create({"search": {"trials": 3}})
    with pytest.raises(ValueError, match="search=tpe: needs -m"):
        note_choices(config, {"search": "tpe"}, [])


def test_the_main_file_is_that_of_the_folder() -> None:
    assert main_file() == OmegaConf.load(FOLDER / "config.yaml")
