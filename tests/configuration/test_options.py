"""Every option of every member changes what is learned or kept, or is refused by name.

An option that may only act beside others (`acts_with` of its class) is tried beside them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from lifelong.configuration.complete import complete
from lifelong.configuration.members import members
from lifelong.configuration.options import _annotations, check_options, defaults, holds
from lifelong.data import by_class
from lifelong.data.sources import digits
from tests.conftest import configured, execute

QUICK = ["data=digits", "data.fraction=0.2", "tasks=2", "epochs=2", "batch_size=16", "logger=none"]
QUICK += ["trainer=cpu"]
TICKETS = ["data.fraction=0.3", "strategy.memory=6", "unlabeled=heldout_classes", "batch_size=32"]
ROUNDS = [*TICKETS, "strategy.round_epochs=1", "strategy.neighbours=2"]
VIT = ["backbone=timm", "backbone.name=test_vit", "backbone.options={patch_size:4}"]
CONTEXT: dict[str, list[str]] = {  # beside which a member is tried
    "agem_r": ["strategy.memory=20"],
    "lasem_er": ["strategy.memory=20"],
    "l2p": VIT,
    "dualprompt": VIT,
    "coda": VIT,
    "cbp": ["strategy.replace=0.02", "strategy.maturity=3"],
    "brute_force_hps": ["transfer.groups=[2,2]"],
    "brute_force_tf": ["transfer.groups=[2,2]"],
    "brute_force_dfcnn": ["transfer.groups=[2,2]"],
    "cil": [*TICKETS, "strategy.neighbours=2"],
    "den": ["strategy.grow=2"],
    "gdumb": ["strategy.memory=20"],
    "gem": ["strategy.per_class=2"],
    "icarl": ["strategy.memory=12"],
    "mir": ["strategy.memory=60"],
    "packnet": ["strategy.retrain_epochs=1"],
    "ranpac": ["strategy.projections=30"],
    "er": ["strategy.memory=20"],
    "lasem_group_hps": ["backbone=conv_small", "transfer.groups=[2,2]"],
    "lwf": ["epochs=3", "lr=0.01"],
    "mtl": ["data.repeat=1"],
    "tickets_bu": [*ROUNDS, "strategy.most_rounds=2", "strategy.prune_fraction=0.3"],
    "tickets_td": [*ROUNDS, "strategy.pruning=[2,1]"],
    "tag_adagrad": ["strategy=finetune", "epochs=3"],
    "tag_adam": ["strategy=finetune"],
    "tag_rmsprop": ["strategy=finetune"],
    "milestones": ["schedule.at=[1]"],
    "cosine": ["lr=0.01"],
    "step": ["schedule.every=1"],
    "per_task": ["lr=0.01"],
}
OTHER: dict[str, list[str]] = {  # another value than the default, and what it needs beside it
    "strategy.network.reduction": ["2"],
    "strategy.arch_data": ["valid"],
    "strategy.augment_memory": ["false", "augment=flip"],
    "strategy.joint_batch": ["true", "heads=multi", "heads.dropout=0.2"],
    "strategy.accept_drop": ["-100"],
    "strategy.candidates": ["30"],
    "strategy.cutmix": ["0"],
    "gpm:strategy.images": ["7"],
    "strategy.threshold": ["0.5"],
    "strategy.prune": ["0.7"],
    "strategy.replace": ["0.2"],
    "agem:strategy.memory": ["20"],
    "strategy.chosen": ["3"],
    "strategy.general": ["[0]"],
    "strategy.expert": ["[2,3]"],
    "strategy.prompted": ["[0,1]"],
    "strategy.length": ["6"],
    "strategy.maturity": ["7"],
    "strategy.shrink": ["0.9"],
    "wsn:strategy.share": ["0.3"],
    "strategy.ridge": ["3.0"],
    "strategy.train": ["last"],
    "strategy.base_sparsity": ["10", "strategy.stop_drop=-100", "strategy.most_rounds=3"],
    "strategy.cluster_every": ["1", "strategy.cluster_range=10"],
    "strategy.cluster_range": ["1.0e-9", "strategy.cluster_every=1", "tasks=3"],
    "strategy.clip": ["1.0e-9"],
    "strategy.decay": ["0.5", "tasks=3"],
    "strategy.mode": ["separate", "tasks=3"],
    "strategy.drift": ["3.0"],
    "strategy.exemplars": ["herding"],
    "strategy.expand_above": ["9"],
    "strategy.fixed": ["1100", "strategy.prior=fixed", "strategy.fixed=1111"],
    "strategy.fixed_probability": ["0.5", "strategy.prior=fixed", "strategy.fixed=1100"],
    "strategy.halve_below": ["0.9"],
    "strategy.importance.images": ["val"],
    "strategy.importance.labels": ["predicted"],
    "strategy.likelihood": ["mean"],
    "strategy.max_unlabeled": ["3"],
    "strategy.prior": ["running_mean"],
    "strategy.narrowing.below": ["0.5"],
    "strategy.narrowing.recheck": ["4", "strategy.narrowing.below=0.9", "epochs=6"],
    "strategy.narrowing.commit_after": ["2"],
    "strategy.narrowing.commit_above": ["0.2", "strategy.narrowing.commit_after=2"],
    "strategy.pruning": ["[1,1]"],
    "strategy.importance.samples": ["5"],
    "strategy.prune_fraction": ["0.6"],
    "channel_gated:strategy.sparsity": ["0.3", "strategy.sparsity_from=1"],
    "strategy.sparsity_from": ["1", "strategy.sparsity=0.1"],
    "strategy.split_above": ["0.0001"],
    "strategy.order": ["2"],
    "strategy.stop_drop": ["-100", "strategy.base_sparsity=1", "strategy.most_rounds=3"],
    "strategy.warmup_epochs": ["1"],
    "strategy.weighting": ["average", "tasks=3"],
    "strategy.new_classes": ["true", "heads=incremental"],
    "strategy.importance.batch_size": ["7"],
    "strategy.alpha": ["0.9", "tasks=3"],
    "strategy.accumulate": ["running_mean", "tasks=3"],
    "strategy.weight_decay": ["0.1"],
    "strategy.rewind_epoch": ["2"],
    "optimizer.alpha": ["0.5"],
    "optimizer.betas": ["[0.5,0.9]"],
    "optimizer.initial": ["0.1"],
    "optimizer.max_history": ["0"],
    "optimizer.rule": ["adam"],
    "optimizer.first_gradients": ["3"],
    "optimizer.eps": ["0.01"],
    "strategy.blocks": ["2"],
    "strategy.prunes": ["maps", "+backbone.widths=[16]"],
    "schedule.at": ["[2]", "epochs=3"],
    "schedule.floor": ["0.1"],
    "schedule.every": ["2", "epochs=4"],
}
# Options of other tests, which need other files: of another run, and weights that are fetched.
ELSEWHERE = {
    "module": "tests/backbones/test_wrapped.py",
    "timm": "tests/backbones/test_by_name.py",
    "torchvision": "tests/backbones/test_by_name.py",
    "retrain": "tests/strategies/test_retrain.py",
    "ncm.distance": "tests/strategies/test_closed_form.py",
    "alexnet.weights": "tests/backbones/test_pretrained.py",
    "resnet18.weights": "tests/backbones/test_pretrained.py",
}


def own(node: DictConfig, path: str) -> Iterator[tuple[str, str]]:
    """Target and dotted key of the options in a node that refer to nothing but other choices."""
    for key in map(str, node):
        raw = OmegaConf.to_container(node)[key]  # type: ignore[index,call-overload]
        if key.startswith("_") or ("${" in str(raw) and "${by" not in str(raw)):
            if isinstance(raw, dict):
                yield from own(node[key], f"{path}.{key}")
        elif isinstance(raw, dict):
            yield from own(node[key], f"{path}.{key}")
        else:
            yield str(node.get("_target_")), f"{path}.{key}"


def enumerated(groups: tuple[str, ...]) -> list[tuple[str, str]]:
    """Member and key of every option, each of a class once."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for group in groups:
        for name in sorted(members(group), key=lambda name: ("hps" not in name, name)):
            if name in ELSEWHERE:
                continue
            config = configured(f"{group}={name}")
            for target, key in own(config[group], group):
                if f"{name}.{key.rpartition('.')[2]}" not in ELSEWHERE:
                    found.setdefault((target, key.rpartition(".")[2]), (name, key))
    return list(found.values())


TRAINED = enumerated(("strategy", "kind", "optimizer", "schedule"))
BUILT = enumerated(("backbone", "heads"))


def changed(value: Any, member: str, key: str) -> list[str]:
    """Another value of an option, as an override, and what it needs beside it."""
    other = OTHER.get(f"{member}:{key}", OTHER.get(key))
    if other is not None:
        return [f"{key}={other[0]}", *other[1:]]
    if isinstance(value, bool):
        return [f"{key}={str(not value).lower()}"]
    if isinstance(value, int | float):
        return [f"{key}={2 * value + (0.5 if isinstance(value, float) else 1)}"]
    return [f"{key}={dict(LITERALS)[str(value)]}"]


LITERALS = [  # of options with a few values: which is tried in place of the default
    ("gradient", "proximal"), ("global", "local"), ("squared_norm", "absolute_sum"),
    ("magnitude", "random"), ("zero", "none"), ("exact", "batched"), ("batched", "exact"),
    ("paper", "release"), ("release", "full"), ("random", "herding"), ("val", "test"),
    ("tensor", "global"), ("epoch", "task"), ("cosine", "one"), ("full", "release"),
    ("none", "all"), ("convolutions", "maps"),
]  # fmt: skip


@pytest.mark.parametrize(("member", "key"), TRAINED, ids=lambda value: str(value))
def test_an_option_changes_what_is_learned_or_is_refused(
    member: str, key: str, tmp_path: Path, capsys: Any
) -> None:
    group = key.partition(".")[0]
    base = [f"{group}={member}", *QUICK, *CONTEXT.get(member, [])]
    config = configured(*base)
    change, *beside = changed(OmegaConf.select(config, key), member, key)
    beside += acting(config, key, beside)
    folder = tmp_path / "other"
    assert execute(folder, *base, *beside, change) == 0, capsys.readouterr().err
    assert learned(folder) != reference((*base, *beside), tmp_path), (change, beside)


def acting(config: DictConfig, key: str, given: list[str]) -> list[str]:
    """What makes an option act, by the table of its class, if that is not so already."""
    path, _, name = key.rpartition(".")
    node = OmegaConf.select(config, path)
    target = get_object(node["_target_"])
    condition = getattr(target, "acts_with", {}).get(name)
    if condition is None:
        return []
    values = {str(k): node[k] for k in node}
    values |= {k.rpartition(".")[2]: v for k, v in (each.split("=", 1) for each in given)}
    if holds(condition, {**defaults(target), **values}):
        return []
    part = re.split(" or ", condition)[0].split(" and ")
    return [f"{path}.{each.split('|')[0]}" for each in part if "!=" not in each]


@functools.cache
def _references() -> dict[tuple[str, ...], str]:
    return {}


def reference(options: tuple[str, ...], tmp_path: Path) -> str:
    """What is learned with the default, once for all options of a member."""
    known = _references()
    if options not in known:
        assert execute(tmp_path / "default", *options) == 0
        known[options] = learned(tmp_path / "default")
    return known[options]


def learned(folder: Path) -> str:
    """A digest of the method's state, but for what it reports of its options."""
    last = sorted(folder.glob("visit_*.ckpt"))[-1]
    digest = hashlib.sha256()
    _add(torch.load(last, weights_only=True)["strategy"], digest)
    return digest.hexdigest()


def _add(value: Any, digest: Any) -> None:
    if torch.is_tensor(value):
        digest.update(f"{value.shape}".encode())
        digest.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for name in sorted(value, key=str):
            part = value[name]
            if name == "method":  # it names the options, too
                part = {key: part.get(key) for key in ("decisions", "tasks")}
            digest.update(str(name).encode())
            _add(part, digest)
    elif isinstance(value, list | tuple):
        for each in value:
            _add(each, digest)
    else:
        digest.update(str(value).encode())


SHAPED = {  # other values, and the network that a member is built in
    "backbone.channels": "[8,8,8,8]",
    "backbone.pools": "[2,1,1,1]",
    "backbone.kernels": "3",
    "backbone.widths": "[16,16]",
    "backbone.init": "uniform",
    "backbone.width": "8",
    "backbone.freeze_layers": "2",
    "backbone.dropout": "0.5",
    "heads.hidden": "[8]",
    "heads.init": "kaiming",
    "heads.dropout": "0.9",
    "heads.outputs": "50",
}


@pytest.mark.parametrize(("member", "key"), BUILT, ids=lambda value: str(value))
def test_an_option_changes_the_network(member: str, key: str) -> None:
    group = key.partition(".")[0]
    base = [f"{group}={member}", "data=cifar100", "strategy=finetune"]
    if member in ("alexnet", "resnet18"):
        base += ["backbone.weights=none", "backbone.shape=[3,64,64]"]
    value = SHAPED[key]
    assert answers(*base) != answers(*base, f"{key}={value}")


def answers(*options: str) -> tuple[Any, ...]:
    """Weights, scores in training and what is trained of a network."""
    config = configured(*options)
    torch.manual_seed(1)
    made = instantiate(config.strategy.network, _convert_="all")
    made.add_task(0, range(3))
    torch.manual_seed(2)
    x = torch.rand(2, *config.backbone.shape)
    state = [
        (n, p.shape, p.requires_grad, float(p.detach().sum())) for n, p in made.named_parameters()
    ]
    return state, made.logits(x, 0).detach().tolist()


STREAMS: dict[str, list[str]] = {  # another value of each option of a stream, and what it needs
    "data.tasks": ["3"],
    "data.classes": ["[[0,1],[2,3]]"],
    "data.shuffle_classes": ["true"],
    "data.class_seed": ["7", "data.shuffle_classes=true"],
    "data.classes_per_task": ["1"],
    "data.shares": [
        "[0.5,0.2,0.3]",
        "data.source._target_=tests.configuration.test_options.without_test",
    ],
    "data.fraction": ["0.5"],
    "data.images_per_class": ["100", "data.fraction=0.5"],
    "data.per_class": ["[20,4]"],
    "data.validation": ["0.3"],
    "data.standardize": ["none"],
    "data.release_split": ["true", "data.seed=5"],
    "data.seed": ["5"],
    "data.batch_size": ["7"],
    "data.shuffle_seed": ["5"],
    "data.order": ["[2,1]"],
    "data.repeat": ["2"],
    "data.limit": ["2"],
    "data.labels": ["shared"],
    "data.order_seed": ["4"],
    "data.blurry": ["0.2"],
    "data.online": ["true"],
    "data.drop_last": ["true"],
}
GIVEN = {"data.name", "data.shape", "data.source", "data.y"}  # of the images themselves


def without_test() -> Any:
    """Digits as a source without a test part."""
    whole = digits()
    return replace(whole, test_images=whole.test_images[:0], test_labels=whole.test_labels[:0])


def test_every_option_of_a_stream_is_tried() -> None:
    node = configured("data=digits").data
    """Those that are served in batches, and that change no number, are tried in tests/data."""
    options: Any = _annotations(by_class)[1]
    found = {f"data.{key}" for key in {*map(str, node), *options} if key[0] != "_"}
    served = {"data.train_transform", "data.test_transform", "data.stream", "data.images_on"}
    assert found - GIVEN - served == STREAMS.keys()


@pytest.mark.parametrize("key", STREAMS)
def test_an_option_changes_the_stream(key: str) -> None:
    value, *beside = STREAMS[key]
    if key == "data.shares":  # without it there are no images to test
        assert streamed(*beside, f"{key}={value}") != streamed(*beside, f"{key}=[0.6,0.1,0.3]")
    else:
        assert streamed(*beside, f"{key}={value}") != streamed(*beside)


def streamed(*options: str) -> str:
    """A digest of the images of a stream and of its first batches."""
    config = configured("data=digits", "batch_size=16")
    for option in options:
        key, _, value = option.partition("=")
        OmegaConf.update(config, key, yaml.safe_load(value), force_add=True)
    complete(config)
    check_options(config)
    stream: Any = instantiate(config.data, _convert_="all")
    digest = hashlib.sha256()
    stream.prepare_data()
    for visit in stream:
        task = visit.task
        stream.serve(visit)
        for part in (visit.train, task.val, task.test):
            _add([part[torch.arange(len(part))].x, part.y, list(task.classes), task.index], digest)
        for batch in stream.train_dataloader():
            _add(list(batch), digest)
    _add([config.epochs], digest)
    return digest.hexdigest()
