"""What a configuration lacks is filled in, and what is wrong is named."""

from __future__ import annotations

import re

import pytest

from lifelong.configuration.complete import complete
from tests.conftest import configured


def test_protocol_of_the_pair() -> None:
    config = configured("strategy=lasem_hps", "data=cifar100")
    complete(config)
    assert (config.epochs, config.batch_size, config.lr) == (2000, 10, 1e-4)
    assert config.schedule == {
        "_target_": "lifelong.optim.inverse_time", "_partial_": True, "decay": 0.00025,
    }  # fmt: skip
    assert config.optimizer._target_ == "lifelong.optim.TensorFlowRMSProp"
    assert config.backbone.channels == [32, 32, 64, 64]
    assert config.heads.hidden == [64]
    assert config.heads._target_ == "lifelong.networks.MultiHead"
    assert configured("strategy=finetune", "data=cifar100").heads._target_.endswith("SingleHead")
    config = configured("strategy=hps", "data=cifar100", "epochs=5", "backbone=conv6", "lr=0.1")
    complete(config)
    assert (config.epochs, config.batch_size, config.lr) == (5, 10, 0.1)
    assert len(config.backbone.channels) == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=-1", "epochs=-1: give a whole number, 1 or more"),
        ("epochs=1.5", "epochs=1.5"),
        ("epochs='2'", "epochs='2': give a whole number"),
        ("batch_size=0", "batch_size=0: give a whole number, 1 or more"),
        ("seed=abc", "seed=abc: give a whole number, 0 or more"),
        ("lr=0", "lr=0: give a learning rate above 0"),
        ("tasks=0", "tasks=0"),
        ("keep=some", "keep=some: give latest or all"),
        ("evaluate=never", "evaluate=never: give task or both"),
        ("download=maybe", "download=maybe: give True or False"),
        ("data.seed=x", "data.seed=x"),
        ("data=folder", "data.root is not given; give data.root=..: train/<class>/* and"),
        (
            "backbone=timm",
            "backbone.name is not given; give backbone.name=..: of a",
        ),
        ("+published={final_accuracy:60}", "published.final_accuracy=60: give its mean and dev"),
        ("+published={final_accuracy:[60]}", "published.final_accuracy=[60]: give its mean and"),
        ("+published={final_accuracy:[sixty,1]}", "published.final_accuracy=['sixty', 1]: give"),
        ("data.shape=32", "data.shape=32: give [channels,height,width], such as [3,32,32]"),
        ("data.shape=[32,32]", "data.shape=[32, 32]: give [channels,height,width]"),
        ("data.shape=[3,32,a]", "data.shape=[3, 32, 'a']: give [channels,height,width]"),
    ],
)
def test_values_at_the_top_level(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        complete(configured(override))


def test_null_is_the_protocol() -> None:
    config = configured("epochs=null")
    complete(config)
    assert config.epochs == config.protocol.epochs


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["data=folder"], "data.root"),
        (["strategy=retrain"], "strategy.visit"),
        (["strategy=cil", "unlabeled=npz"], "unlabeled_file"),
    ],
)
def test_what_must_be_given_is_asked_for(options: list[str], key: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(key)} is not given"):
        complete(configured(*options))
