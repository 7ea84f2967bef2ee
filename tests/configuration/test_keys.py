"""Which keys a run reads."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lifelong.configuration.keys import check_added, check_read, reads_fidelity
from lifelong.configuration.overrides import key_of
from tests.conftest import configured


@pytest.mark.parametrize(("data", "departs"), [("cil_cifar10", True), ("cil_cifar100", False)])
def test_fidelity_is_read_where_it_decides(data: str, departs: bool) -> None:
    assert reads_fidelity(configured("strategy=tickets_td", f"data={data}")) == departs


@pytest.mark.parametrize(
    ("keys", "right"),
    [
        (["epoch"], False), (["stategy.lr"], False), (["trainer.max_epochs"], True),
        (["strategy.weight"], True), (["experiment"], True), (["hydra.job.name"], True),
    ],
)  # fmt: skip
def test_keys_that_are_added(keys: list[str], right: bool) -> None:
    config = configured("strategy=finetune")
    if right:
        check_added(config, keys)
    else:
        with pytest.raises(ValueError, match=f"^.{keys[0]}: nothing reads {keys[0].split('.')[0]}"):
            check_added(config, keys)


def test_a_key_that_is_referred_to_may_be_added() -> None:
    """Such as a body of one's own that the strategy's network takes."""
    config: Any = configured("strategy=finetune", "+mine.width=3", "backbone.channels=[8,8,8,8]")
    config.strategy.network.backbone = "${mine}"
    check_added(config, ["mine.width"])


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ("strategy=ewc transfer=top2", "transfer"),
        ("strategy=ewc backbone.channels=[2,2,2,2] transfer.groups=[2,2]", "transfer.groups"),
        ("strategy=lasem_hps unlabeled=exemplars", "unlabeled"),
        ("strategy=er kind=tf", "kind"),
        ("strategy=hps +deconvolution.x=1", "deconvolution.x"),
        ("strategy=hps heads=single multi_head=lifelong.networks.OutputMatrix", "multi_head"),
    ],
)
def test_groups_that_the_run_does_not_read_are_refused(options: str, key: str) -> None:
    keys = [key_of(word) for word in options.split()]
    config = configured(*(word for word in options.split() if key != key_of(word)))
    strategy = options.split()[0].partition("=")[2]
    config.choices = {"strategy": strategy, "data": "digits"}
    group = key.split(".")[0]
    message = f"{key}: strategy={strategy} on data=digits does not read {group}; leave it out"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_read(config, keys)


@pytest.mark.parametrize(
    "options",
    [
        "strategy=hps transfer=top2",
        "strategy=lasem_hps transfer.groups=[2,2] backbone.channels=[2,2,2,2]",
        "strategy=cil unlabeled=exemplars",
        "strategy=lasem_dfcnn deconvolution=[[2,2,3,3]]",
        "strategy=ewc heads=multi multi_head=lifelong.networks.OutputMatrix optimizer=adam",
        "strategy=ewc schedule=inverse_time heads.hidden=[5]",
    ],
)
def test_groups_that_the_run_reads_are_taken(options: str) -> None:
    check_read(configured(*options.split()), [key_of(word) for word in options.split()])


def test_an_option_that_the_backbone_does_not_take_is_refused() -> None:
    given = ["strategy=er", "protocol.dropout=0.5"]
    keys = [key_of(word) for word in given]
    check_read(configured(*given, "backbone=reduced_resnet"), keys)
    with pytest.raises(ValueError, match=r"does not read protocol\.dropout; leave it out"):
        check_read(configured(*given, "data=digits"), keys)
