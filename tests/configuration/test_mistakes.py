"""Typing mistakes: one line that names the option, the value, and what would do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.mistakes import explain


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("strategy=lasemhps", "strategy=lasemhps: there is no such member; did you mean lasem_hps"),
        ("data=cifar_100", "data=cifar_100: there is no such member; did you mean cifar100 or"),
        ("experiment=tag/cifar100_eer", "no such member; did you mean tag/cifar100_er or"),
        ("strategy=qqqq", "strategy=qqqq: there is no such member; --help lists all"),
        ("epoch=3", "epoch=3: there is no such option; did you mean epochs?"),
        ("optimzer=adam", "optimzer=adam: there is no such option; did you mean optimizer or"),
        ("strategy=ewc strategy.strenght=3", "did you mean strategy.strength?"),
        ("data.clases=null", "no such option; did you mean data.classes"),
        ("strategy=lasemhps epoch=3", "strategy=lasemhps: there is no such member"),
        ("seed=1,2 lr=0.1", "seed=1,2: several values are several runs, which need -m: "
         "lifelong run -m seed=1,2 lr=0.1"),
        ("seed=range(1,4)", "seed=range(1,4): several values are several runs, which need -m"),
        ("paths.output_dir=~/x", "~/x: the character '~' cannot be read as it stands; give "
         "'paths.output_dir=\"~/x\"'"),
        ("name=it's", "name=it's: the character \"'\" cannot be read"),
        ("data.classes=[[0,1],[2", "[[0,1],[2: the value cannot be read as it stands"),
        ("strategy", "strategy: is no option=value; put quotes around a value with spaces"),
        ("strategy=3", "strategy=3: there is no such member; --help lists all"),
        ("backbone=nan", "backbone=nan: there is no such member; --help lists all"),
        ("strategy=ewc strategy.qqq=3", "no such option; --cfg job shows those of strategy"),
        ("~epoch", "~epoch: there is no such option to leave out; did you mean epochs?"),
    ],
)  # fmt: skip
def test_mistakes_are_told(overrides: str, message: str) -> None:
    given = overrides.split(" ")
    with (
        pytest.raises(Exception, match=r".") as caught,
        initialize_config_dir(str(FOLDER), version_base="1.3"),
    ):
        compose("config", given)
    found = explain(caught.value, given)
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("overrides", "status", "message"),
    [
        ("strategy=lasemhps", 2, "error: strategy=lasemhps: there is no such member"),
        ("+epoch=3", 2, "error: +epoch: nothing reads epoch; did you mean epochs?"),
        ("=3", 2, "error: =3: names no option; give option=value"),
        ("paths=x", 2, "error: paths=x: has options of its own; give paths.data_dir, paths.out"),
        ("published=x", 2, "error: published=x: has options of its own; give published.<metric>"),
        (
            "epochs=100000000000000000000",
            2,
            "error: epochs=100000000000000000000: give a whole number of at most 1,000,000,000",
        ),
        ("paths.data_dir=", 2, "error: paths.data_dir=: is empty (a shell variable that is not"),
        ("paths.output_dir=", 2, "error: paths.output_dir=: is empty (a shell variable that is"),
        ("resume=", 2, "error: resume=: is empty (a shell variable that is not set?)"),
        (
            "-m seed=1,2 paths.output_dir=",
            2,
            "error: paths.output_dir=: is empty (a shell variable",
        ),
        ("-m search=grid lr=1,2 paths.output_dir=", 2, "error: paths.output_dir=: is empty (a sh"),
        ("choices=x", 2, "error: choices=x: is filled in by the run; leave it out"),
        ("--nope", 2, "error: unrecognized arguments: --nope; --help lists all"),
        ("name=${nope}", 2, "error: name: Interpolation key 'nope' not found; name an option that"),
    ],
)
def test_a_mistake_ends_before_anything_is_read(
    command: Callable[..., subprocess.CompletedProcess[str]],
    overrides: str, status: int, message: str,
) -> None:  # fmt: skip
    found = command(*overrides.split())
    assert (found.returncode, found.stdout) == (status, "")
    assert found.stderr.startswith(message)
    assert len(found.stderr.splitlines()) == 1
