"""Arguments of commands: option=value, places, and the forms of version 0.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifelong.configuration.arguments import Argument, page, parse

KNOWN = {
    "run": Argument("a run", folder=True),
    "best": Argument("only the best", "false"),
    "by": Argument("keys", many=True),
    "against": Argument("figures", values=("paper",)),
    "visit": Argument("a visit", number=True),
}


def test_values_are_of_their_kinds() -> None:
    found = parse(["a", "best=true", "by=lr,seed", "visit=3", "b"], KNOWN, ("run",))
    assert found == {
        "run": "a", "best": True, "by": ["lr", "seed"], "against": None, "visit": 3, "": ["b"]
    }  # fmt: skip
    assert parse([], KNOWN) == {
        "run": None, "best": False, "by": None, "against": None, "visit": None, "": []
    }  # fmt: skip
    assert parse(["./a=b/c"], KNOWN)[""] == ["./a=b/c"]  # a path with a sign of equality


def test_a_folder_of_a_sweep_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed=1").mkdir()
    assert parse(["seed=1", "best=true"], KNOWN)[""] == ["seed=1"]
    with pytest.raises(ValueError, match="seed=2: there is no such option"):
        parse(["seed=2"], KNOWN)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--by", "lr,seed"], ["by=lr,seed"]),
        (["--by=lr"], ["by=lr"]),
        (["a", "--best"], ["a", "best=true"]),
        (["--by", "lr", "seed", "--visit", "2"], ["by=lr,seed", "visit=2"]),
    ],
)
def test_old_forms_are_read_and_say_the_new_ones(old: Any, new: Any, capsys: Any) -> None:
    assert parse(old, KNOWN) == parse(new, KNOWN)
    told = capsys.readouterr().err
    assert all(text in told for text in new if "=" in text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bset=true", "bset=true: there is no such option; did you mean best"),
        ("qqq=1", "qqq=1: there is no such option; give run, best, by"),
        ("best=maybe", "best=maybe: give true or false"),
        ("against=me", "against=me: give paper"),
        ("visit=0", "visit=0: give a whole number, 1 or more"),
        ("visit=x", "visit=x: give a whole number"),
        ("run=", "run=: is empty"),
        ("", "an argument is empty"),
        ("--nope", "unrecognized arguments: --nope; --help lists all"),
        ("-x", "unrecognized arguments: -x"),
        ("--by", "--by: expected one argument; give by=<value>"),
    ],
)
def test_mistakes(given: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        parse([given], KNOWN)
    assert message in str(error.value)


def test_the_page_names_every_option() -> None:
    text = page("head", KNOWN, "tail")
    assert "best=false" in text
    assert "against=paper" in text
    assert "visit=N" in text
    assert text.startswith("head\n")
    assert text.endswith("tail")
