"""Values at the top level: checked, and those of the protocol filled in."""

from __future__ import annotations

import math
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationToMissingValueError

from lifelong import errors
from lifelong.configuration.compose import main_file
from lifelong.configuration.keys import reads_fidelity
from lifelong.configuration.members import members
from lifelong.configuration.stored import SEEDS

PROTOCOL = ("epochs", "batch_size", "lr")  # unless given: of the protocol of data and strategy
MOST = 1_000_000_000  # of a whole number at the top level that is no seed
TEXTS = ("name", "resume", "paths.data_dir", "paths.output_dir")  # whatever they look like
_INTEGER_MINIMA = {  # least values of the whole numbers at the top level
    "seed": 0,
    "seeds.init": 0,
    "seeds.batches": 0,
    "data.seed": 0,
    "epochs": 1,
    "batch_size": 1,
    "tasks": 1,
    "evaluate_every": 0,
    "evaluate_every_visits": 1,
    "evaluate_every_steps": 0,
    "evaluate_images": 1,
    "checkpoint_every": 0,
    "restore_best": 0,
}
# What may be null: all tasks; a stream made in Python; after each visit.
NULL = ("tasks", "data.seed", "evaluate_every_visits")
CHOICES = {
    "evaluate": ("task", "both", "class"),
    "evaluate_on": ("seen", "all"),
    "costs": (True, False),
    "plasticity": (True, False),
    "measure_on": ("test", "validation"),
    "keep": ("latest", "all"),
    "fidelity": ("clean", "authors"),
    "optimizer_lifetime": ("epoch", "task", "stream"),
    "download": (True, False),
}


def complete(config: DictConfig) -> None:
    """Checks the values at the top level and fills in the protocol's where they are null.

    Raises:
        ValueError: the option, its value, and what would do.
    """
    missing = _missing(config)
    if missing:
        raise ValueError(f"{missing[0]} is not given; give {_meaning(missing[0], config)}")
    _take_texts(config)
    if OmegaConf.is_config(config.name):
        raise ValueError(f"name={config.name}: give a text")
    _check_shape(config.data.get("shape"))
    for key in PROTOCOL:
        own = OmegaConf.is_interpolation(config, key) or config[key] is None  # not given
        value = config.protocol[key] if config[key] is None else config[key]
        config[key] = 1 if own and key == "epochs" and config.data.get("online") else value
    for key, least in _INTEGER_MINIMA.items():
        _check_whole(key, OmegaConf.select(config, key), least)
    _check_rate(config.lr)
    _check_groups(config.get("optimizer_groups"))
    _check_evaluation(config)
    for key, allowed in CHOICES.items():
        if config[key] not in allowed:
            raise ValueError(f"{key}={config[key]}: give {' or '.join(map(str, allowed))}")
    _check_fidelity(config)
    _check_published(config.get("published"))
    if config.checkpoint_every % max(config.evaluate_every, 1):
        raise ValueError(
            f"checkpoint_every={config.checkpoint_every}: give a multiple of "
            f"evaluate_every={config.evaluate_every}"
        )
    _take_handling(config)


def _take_texts(config: DictConfig) -> None:
    """Names are texts whatever they look like, such as a folder called 2024."""
    for key in TEXTS:
        value = OmegaConf.select(config, key)
        if value is not None and not isinstance(value, str) and not OmegaConf.is_config(value):
            OmegaConf.update(config, key, str(value))
    for key in ("resume", "paths.data_dir"):
        value = OmegaConf.select(config, key)
        if value is not None:
            errors.check_named(key, value)


def _take_handling(config: DictConfig) -> None:
    """Moves to the top what no Trainer knows and no result depends on."""
    threads = config.trainer.get("threads", "auto")
    graphs = config.trainer.get("cuda_graphs", False)
    if threads != "auto":
        _check_whole("trainer.threads", threads, 1)
    if not isinstance(graphs, bool):
        raise ValueError(f"trainer.cuda_graphs={graphs}: give true or false")
    with open_dict(config):
        config.threads, config.cuda_graphs = threads, graphs
        for key in ("threads", "cuda_graphs"):
            config.trainer.pop(key, None)


def _check_evaluation(config: DictConfig) -> None:
    """Refuses what acts only beside tests inside visits, where there are none."""
    images = config.evaluate_images
    if not config.evaluate_every_steps and images != main_file().evaluate_images:
        raise ValueError(
            f"evaluate_images={images}: has no effect beside evaluate_every_steps=0; give a number "
            "of steps"
        )


def _check_published(figures: Any) -> None:
    """Refuses figures that no table could be made of, before the run."""
    if figures is not None and not OmegaConf.is_dict(figures):
        raise ValueError(f"published={figures}: give {{metric: [mean, deviation]}}")
    for metric in figures or ():
        pair = figures[metric]
        if not (OmegaConf.is_dict(pair) or _is_pair(pair)):  # by task, or of all
            raise ValueError(
                f"published.{metric}={pair}: give its mean and deviation, such as [62.8, 1.2], or "
                "[62.8, null]"
            )


def _is_pair(pair: Any) -> bool:
    """A figure and more: its deviation, what a time is relative to, those of more visits."""
    try:
        return OmegaConf.is_list(pair) and len(pair) > 1 and math.isfinite(float(pair[0]))
    except (TypeError, ValueError):
        return False


def _check_groups(groups: Any) -> None:
    """Refuses `optimizer_groups` that are no options by words of parameters' names."""
    known = OmegaConf.is_dict(groups) and all(OmegaConf.is_dict(groups[part]) for part in groups)
    if groups is not None and not known:
        raise ValueError(
            f"optimizer_groups={groups}: give options by a word of parameters' names, such as "
            "{heads:{lr:0.01}}"
        )


def _missing(config: DictConfig) -> list[str]:
    """Keys that must be given and are not."""
    try:
        return sorted(OmegaConf.missing_keys(config))
    except InterpolationToMissingValueError as error:
        return re.findall(r"mandatory value: ([\w.]+)", str(error))


def _meaning(key: str, config: DictConfig) -> str:
    """An option as it is to be given, and what the file of its member says of it."""
    group, name = key.split(".")[0], key.rpartition(".")[2]
    member = members(group).get((config.get("choices") or {}).get(group, ""))
    text = "" if member is None else member.text()
    said = re.search(rf"^\s*{re.escape(name)}: \?\?\?\s*# (.*)$", text, re.MULTILINE)
    return f"{key}=.." + (f": {said[1]}" if said else "")


def _check_shape(shape: Any) -> None:
    """Refuses what is no shape of images, before one is read."""
    whole = OmegaConf.is_list(shape) and all(isinstance(n, int) and n > 0 for n in shape)
    if shape is not None and not (whole and len(shape) == 3):
        raise ValueError(f"data.shape={shape}: give [channels,height,width], such as [3,32,32]")


def _check_fidelity(config: DictConfig) -> None:
    if config.fidelity != "clean" and not reads_fidelity(config):
        raise ValueError(
            f"fidelity={config.fidelity}: nothing of this run departs from its paper in the "
            "authors' program, or what does is set by itself; leave fidelity out"
        )


def _check_rate(lr: Any) -> None:
    if not isinstance(lr, int | float) or isinstance(lr, bool) or not 0 < lr < float("inf"):
        raise ValueError(f"lr={_shown(lr)}: give a learning rate above 0")


def _shown(value: Any) -> str:
    """A value in a message: a text that looks like a number with its quotes, which are wrong."""
    numeric = isinstance(value, str) and re.fullmatch(r"[-+.\deE]+", value)
    return repr(value) if numeric else str(value)


def _check_whole(key: str, value: Any, least: int) -> None:
    if value is None and key in NULL:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        also = "auto or " if key == "trainer.threads" else "null or " if key in NULL else ""
        raise ValueError(f"{key}={_shown(value)}: give {also}a whole number, {least} or more")
    if value > MOST and key not in SEEDS:
        raise ValueError(f"{key}={value}: give a whole number of at most {MOST:,}")
