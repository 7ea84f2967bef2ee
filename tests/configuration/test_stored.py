"""Configurations of runs, read back and compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from lifelong.configuration.complete import complete
from lifelong.configuration.compose import FOLDER
from lifelong.configuration.stored import SEEDS, differences, digest_of
from tests.conftest import configured


def test_differences_name_what_would_change_results() -> None:
    old, new = configured("epochs=3"), configured("epochs=4", "logger=none", "keep=all")
    for config in (old, new):
        complete(config)
    old.paths.data_dir = "elsewhere"
    assert differences(old, new) == ["epochs: was 3, is now 4"]
    assert differences(old, old) == []


def test_an_option_that_was_not_there_yet_is_as_one_that_is_null() -> None:
    old, new = configured("epochs=3"), configured("epochs=3")
    OmegaConf.set_struct(new, False)
    new.strategy.new_option = None
    assert differences(old, new) == []
    assert digest_of(old) == digest_of(new)
    new.strategy.new_option = 0
    assert differences(old, new) == ["strategy.new_option: was null, is now 0"]
    assert digest_of(old) != digest_of(new)


def test_an_option_of_the_same_text_as_a_path_is_an_option() -> None:
    old, new = configured("epochs=3"), configured("epochs=4")
    for config in (old, new):
        complete(config)
        config.paths.output_dir = str(config.epochs)
    assert differences(old, new) == ["epochs: was 3, is now 4"]
    old.data.name = old.paths.output_dir = "outputs/a"  # a copy of it
    new.data.name = new.paths.output_dir = "outputs/b"
    assert differences(old, new) == ["epochs: was 3, is now 4"]


def following(value: Any, path: str = "") -> Iterator[str]:
    """Keys of options that follow a seed."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from following(below, f"{path}.{key}".strip("."))
    elif value in ("${seed}", "${seeds.init}", "${seeds.batches}"):
        yield path


def test_whatever_follows_the_seed_is_averaged_over() -> None:
    """Else runs of several seeds would stand in rows of their own."""
    files = [*FOLDER.glob("strategy/*.yaml"), *FOLDER.glob("data/[!_]*.yaml")]
    found = set(following(yaml.safe_load((FOLDER / "data/_stream.yaml").read_text()), "data"))
    for path in [*files, FOLDER / "config.yaml"]:
        found |= set(following(yaml.safe_load(path.read_text())))
    assert {"strategy.seed", "data.seed", "data.shuffle_seed", "seeds.init"} <= found
    assert found <= set(SEEDS)


@pytest.mark.parametrize(
    ("given", "digest"),
    [
        ("strategy=finetune data=digits", "35c579c4f99eacd7"),
        ("strategy=lasem_hps data=cifar100", "c756a914f0eec0b3"),
        ("strategy=er data=split_cifar100", "ab86b4ac1c2e5904"),
        ("strategy=mas data=split_mnist", "97b45144127e09e1"),
        ("strategy=tickets_bu data=cil_cifar10", "c36bd50883797550"),
        ("strategy=ewc data=digits backbone=mlp optimizer=adam", "edd0ec1c7ba3ad38"),
        ("experiment=tag/mini_imagenet_er", "a0b42cc6cf102fdf"),
    ],
)
def test_runs_of_the_version_before_go_on_and_are_averaged_with_new_ones(
    given: str, digest: str
) -> None:
    """As version 0.2.0 composed them: a new option is null where it is not given."""
    assert digest_of(configured(*given.split()))[:16] == digest
