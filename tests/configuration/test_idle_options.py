"""Options that nothing reads, or that have no effect beside others, are refused by name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

import lifelong.optim
import lifelong.parts.fisher
import lifelong.parts.sensitivity
import lifelong.strategies
from lifelong.configuration.complete import complete
from lifelong.configuration.options import check_options, defaults
from tests.conftest import configured, execute

# By class, its member, and for each option what makes it idle, how it reads, and what makes it act.
CASES: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "APD": ("strategy=apd", [
        ("weight_decay=0.5", "variant=release", "variant=full"),
        ("cluster_every=3", "variant=release", "variant=full"),
        ("cluster_range=0.5", "variant=release", "variant=full"),
        ("cluster_range=0.5", "variant=full cluster_every=0", "variant=full cluster_every=2"),
    ]),
    "CIL": ("strategy=cil", [
        ("neighbours=3", "unlabeled=none", "unlabeled=images"),
        ("neighbours=3", "unlabeled=exemplars", "unlabeled=images"),
        ("max_unlabeled=3", "unlabeled=exemplars", "unlabeled=images"),
        ("temperature=3.0", "unlabeled=none", "unlabeled=exemplars"),
        ("memory=3", "exemplars=images.pkl", "exemplars=herding"),
    ]),
    "ChannelGated": ("strategy=channel_gated", [
        ("sparsity=2.0", "variant=release", "variant=paper"),
        ("sparsity_from=3", "variant=release", "variant=paper"),
        ("sparsity_from=3", "variant=paper sparsity=0.0", "variant=paper sparsity=0.1"),
        ("fix_above=0.5", "variant=release", "variant=paper"),
    ]),
    "DEN": ("strategy=den", [
        ("group=0.5", "grow=0", "grow=2"),
        ("expand_above=0.5", "grow=0", "grow=2"),
        ("split_above=0.5", "grow=0", "grow=2"),
    ]),
    "Fisher": ("strategy=ewc", [
        ("importance.batch_size=7", "importance.estimator=exact", "importance.estimator=batched"),
    ]),
    "LASEM": ("strategy=lasem_hps", [
        ("em=release", "prior=fixed", "prior=null"),
        ("em=release", "prior=count likelihood=mean", "prior=count likelihood=null"),
        ("likelihood=mean", "prior=fixed", "prior=count"),
        ("pseudo_count=2.0", "prior=running_mean", "prior=count"),
        ("pseudo_count=2.0", "em=release", "em=paper"),
        ("reset_prior_each_epoch=true", "prior=fixed", "prior=null"),
        ("fixed=1100", "prior=count", "prior=fixed"),
        ("fixed_probability=0.5", "prior=null", "prior=fixed"),
    ]),
    "AGEM": ("strategy=agem", [("per_class=3", "memory=20", "memory=null")]),
    "MAS": ("strategy=mas", [
        ("alpha=0.3", "accumulate=sum", "accumulate=ema"),
        ("alpha=0.3", "accumulate=running_mean", "accumulate=ema"),
    ]),
    "Sensitivity": ("strategy=mas", [
        ("importance.batch_size=7", "importance.estimator=exact", "importance.estimator=batched"),
    ]),
    "TAG": ("optimizer=tag_adam strategy=finetune", [
        ("b=3.0", "weights=one", "weights=gradients"),
        ("b=3.0", "weights=age", "weights=cosine"),
        ("group=global", "weights=gradients", "weights=cosine"),
        ("step_scope=task", "rule=rmsprop", "rule=adam"),
        ("first_gradients=3", "weights=cosine", "weights=gradients"),
    ]),
    "TicketsTD": ("strategy=tickets_td", [
        ("rewind_epoch=3", "rewind=zero", "rewind=late"),
        ("rewind_epoch=3", "rewind=best", "rewind=late"),
        ("neighbours=3", "unlabeled=none", "unlabeled=images"),  # as of CIL
    ]),
}  # fmt: skip
ROOMS = [lifelong.strategies, lifelong.optim, lifelong.parts.fisher, lifelong.parts.sensitivity]
EVERY = [(name, *case) for name, (_, cases) in CASES.items() for case in cases]


def tables() -> dict[str, dict[str, str]]:
    """By class the conditions that it has beside those of its bases."""
    found = {}
    for module in ROOMS:
        for name, member in inspect.getmembers(module, inspect.isclass):
            if "acts_with" in vars(member):
                above = getattr(member.__mro__[1], "acts_with", {})
                own = {k: v for k, v in member.acts_with.items() if above.get(k) != v}
                found[name] = own
    return found


def test_every_condition_has_a_case() -> None:
    assert tables().keys() == CASES.keys()
    for name, table in tables().items():
        seen = {option.partition("=")[0] for option, _, _ in CASES[name][1]}
        assert table.keys() <= {option.rpartition(".")[2] for option in seen}, name


def checked(name: str, *options: str) -> None:
    """Has the options looked at, as if a person had given them."""
    member = CASES[name][0]
    config = configured(*member.split())
    complete(config)
    for word in " ".join(options).split():
        key, _, value = word.partition("=")
        OmegaConf.update(config, f"{member.partition('=')[0]}.{key}", yaml.safe_load(value))
    check_options(config)


@pytest.mark.parametrize(("name", "option", "idle", "acting"), EVERY)
def test_options_without_effect_are_refused(name: str, option: str, idle: str, acting: str) -> None:
    key, _, value = option.partition("=")
    group = CASES[name][0].partition("=")[0]
    told = rf"^{group}\.{key}={yaml.safe_load(value)}: only with .*; else it has no effect$"
    with pytest.raises(ValueError, match=told):
        checked(name, option, idle)
    checked(name, option, acting)
    owner = next(getattr(room, name) for room in ROOMS if hasattr(room, name))
    default = defaults(owner)[key.rpartition(".")[2]]
    checked(name, f"{key}={'null' if default is None else default}", idle)  # which says nothing


QUICK = ["data=digits", "tasks=2", "epochs=1", "batch_size=32", "logger=none", "trainer=cpu"]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("max_epochs=3", "max_epochs=3: is decided by the run; give epochs"),
        ("min_epochs=3", "min_epochs=3: is decided by the run; give epochs"),
        ("check_val_every_n_epoch=2", "check_val_every_n_epoch=2: .*; give evaluate_every"),
        ("limit_val_batches=0", "limit_val_batches=0: .*; give evaluate_every=0 for no validation"),
        ("logger=false", "logger=False: .*; give logger=csv, tensorboard, wandb or none"),
        ("callbacks=[]", r"callbacks=\[\]: is decided by the run; leave it out"),
        ("reload_dataloaders_every_n_epochs=1", "reload_.*=1: .*; leave it out"),
        ("barebones=true", "barebones=True: .*; leave it out"),
        ("nonsense=1", "nonsense: lightning.Trainer has no such option"),
    ],
)
def test_options_of_the_trainer_that_the_run_decides_are_refused(
    tmp_path: Path, option: str, told: str, capsys: Any
) -> None:
    assert execute(tmp_path, *QUICK, "strategy=finetune", f"+trainer.{option}") == 2
    assert re.search(rf"error: trainer\.{told}", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_leaving_out_what_becomes_unlikely_needs_a_prior_that_is_learned(
    tmp_path: Path, capsys: Any
) -> None:
    options = [*QUICK, "strategy=lasem_hps", "strategy.narrowing.below=0.05"]
    fixed = ["strategy.prior=fixed", "strategy.fixed='1100'"]
    assert execute(tmp_path, *options, *fixed) == 2
    told = (
        "error: strategy.narrowing.below=0.05: with strategy.prior=fixed no configuration becomes"
    )
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    for others in (fixed, [options[-1], "strategy.prior=count"], options[-1:]):
        config = configured(*options[:-1], *others)
        complete(config)
        instantiate(config.strategy, _convert_="all")
