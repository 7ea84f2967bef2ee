"""What is searched, and what its points are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from lifelong.configuration.complete import complete
from lifelong.configuration.compose import FOLDER, register
from lifelong.sweeps.space import space_of
from lifelong.sweeps.study import overrides_of
from tests.sweeps.searched import UNITS, parsed


def test_overrides_taken_apart() -> None:
    given = ["lr=0.1,0.01", "data.validation=0.1", "lr=0.5,0.2,0.1", "seed=1,2", "search=tpe"]
    space = space_of(parsed(*given, "depth=range(1,7,2)", "rate=interval(0,1)", UNITS), False)
    assert space.options["lr"].choices == ("0.5", "0.2", "0.1")  # type: ignore[attr-defined]
    assert space.fixed == ["data.validation=0.1", "measure_on=validation"]
    assert space.runs == [["seed=1"], ["seed=2"]]
    told = {key: str(of) for key, of in space.options.items()}
    assert told["depth"] == "IntDistribution(high=5, log=False, low=1, step=2)"
    assert told["rate"] == "FloatDistribution(high=1.0, log=False, low=0.0, step=None)"
    assert told["units"] == "IntDistribution(high=8, log=True, low=1, step=1)"
    with pytest.raises(ValueError, match="depth: a grid needs its values"):
        space.grid()
    grid = space_of(parsed("lr=0.1,0.01", "depth=range(1,7,2)"), True).grid()
    assert len(grid) == 6
    assert grid[1] == {"lr": "0.1", "depth": "3"}
    for wrong, said in (
        (["lr=0.1", "seed=1,2"], "nothing to search"),
        (["lr=0.1,0.2", "measure_on=test"], "validation images alone"),
        (
            ["lr=0.1,0.2", "measure_on=test,validation"],
            "measure_on=test,validation: is not searched",
        ),
        (["lr=0.1,0.2", "data=digits,cifar100"], "data=digits,cifar100: is not searched"),
        (["lr=0.1,0.2", "search=tpe,random"], "search=tpe,random: is not searched"),
        (["lr=0.1,0.2", "search.trials=2,3"], "search.trials=2,3: is not searched"),
        (["lr=0.1,0.2", "seed=interval(1,3)"], r"seed=interval\(1,3\): give its values"),
        (["lr=range(5,1)"], r"lr=range\(5,1\): has no values"),
    ):
        with pytest.raises(ValueError, match=said):
            space_of(parsed(*wrong), False)


FILES = sorted((FOLDER / "search").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_searches_what_its_command_has(path: Path) -> None:
    """With the command of its second line; each value of each option is one that composes."""
    command = re.search(r"^#   lifelong run -m (.*)$", path.read_text(), re.MULTILINE)
    if command is None:
        assert yaml.safe_load(path.read_text()).get("space", []) == []
        return
    overrides = [text for text in command[1].split() if not text.startswith("seed=")]
    register()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        space = compose("config", overrides).search.space
        assert f"search={path.stem}" in overrides
        given = [text for text in overrides if not text.startswith("search=")]
        found = space_of(parsed(*space, *given), True)
        for point in found.grid()[:: max(len(found.grid()) - 1, 1)]:
            made = compose("config", [*found.fixed, *overrides_of(point)])
            complete(made)
            assert made.measure_on == "validation"


def test_the_tag_grids_are_the_papers() -> None:
    sizes = {"sgd": 4, "adagrad": 5, "rmsprop": 7, "adam": 5, "tag_adagrad": 20, "tag_rmsprop": 32}
    sizes |= {"tag_adam": 20, "ewc_tag": 12, "agem": 4, "er": 4, "stable_sgd": 36}
    page = yaml.safe_load((FOLDER / "tables" / "search.yaml").read_text())
    for name, size in sizes.items():
        space = page[name]["config"]["space"]
        assert len(space_of(parsed(*space), True).grid()) == size
