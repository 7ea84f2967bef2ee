"""config.yaml: read back, compared, and what of it matters for results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from lifelong import errors
from lifelong.configuration.former import brought_up
from lifelong.configuration.plain import as_dict
from lifelong.storage.files import SEAL, read_json

# How a run is carried out, which changes no result.
HANDLING = (
    "paths", "resume", "logger", "keep", "checkpoint_every", "download", "threads", "cuda_graphs",
)  # fmt: skip
# What may differ between the two parts of a resumed run; the others only say what is known of it.
IGNORED_ON_RESUME = (*HANDLING, "published", "choices", "changed")
# What runs that are averaged may differ by.
SEEDS = (
    "seed", "seeds.init", "seeds.batches", "data.seed", "data.shuffle_seed", "data.class_seed",
    "data.order_seed", "strategy.seed", "strategy.run",
)  # fmt: skip
SWITCHES = ("data_dir", "download")  # wherever they stand: where a data set is, and how it comes
# What may be another when a run goes on elsewhere.
MOVES = ("trainer.accelerator", "data.images_on")
# Where a run is computed, which the machine's and the device's name say.
DEVICE = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes")
SECTIONS = {"strategy", "data", "paths"}  # that config.yaml of a run has in any case
LARGEST, DEEPEST = 1 << 20, 50  # bytes and levels of a config.yaml that is read
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_config(path: Path) -> DictConfig:
    """The configuration of a run, with the names that options have now.

    Raises:
        ValueError: a file that is missing, damaged or of something else.
    """
    found = OmegaConf.to_container(_config_of(path, lambda text: OmegaConf.create(text)))
    assert isinstance(found, dict)
    return OmegaConf.create(brought_up(found))  # type: ignore[arg-type]


def read_plain(path: Path) -> dict[str, Any]:
    """As `read_config`, quicker, as a plain dictionary."""
    found = _config_of(path, lambda text: yaml.load(text, Loader=_LOADER))
    assert isinstance(found, dict)
    return brought_up(found)


def read_environment(folder: Path, config: Mapping[Any, Any]) -> dict[str, Any]:
    """Where a run was computed and with what, see `lifelong.training.provenance`.

    Args:
        folder: of the run.
        config: of the run.

    Raises:
        ValueError: a file that is damaged.
        OSError: none that can be read.
    """
    found = read_json(folder / "environment.json")
    found.pop(SEAL, None)
    if "before" not in found and (config.get("trainer") or {}).get("accelerator") == "cpu":
        found["device"] = "cpu"  # 0.2.0 noted the GPU that was there, used or not
    return found


def _config_of(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        text = path.read_bytes()[: LARGEST + 1].decode()
        if len(text) > LARGEST or not _is_plain(text):
            raise ValueError("it is larger or deeper than any of ours, or refers to itself")
        found = parse(text)
    except Exception as error:  # of YAML and of OmegaConf, of many kinds
        why = errors.reason(error).splitlines()[0]
        raise ValueError(f"{path}: cannot be read ({why})") from None
    if not isinstance(found, dict | DictConfig) or not found.keys() >= SECTIONS:
        what = "is empty" if not found else "is not the configuration of a run"
        raise ValueError(f"{path}: {what}; it may be damaged, so begin anew in another folder")
    if not all(isinstance(found[key], dict | DictConfig) for key in SECTIONS):
        raise ValueError(f"{path}: is damaged ({', '.join(sorted(SECTIONS))} are no groups)")
    return found


def _is_plain(text: str) -> bool:
    """Whether YAML has no references, with which a short text is endless, and is not too deep."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, yaml.AliasEvent):
            return False
    return True


def digest_of(config: DictConfig, without: Sequence[str] = ()) -> str:
    """Of all that matters for results, but for some keys; checkpoints carry it."""
    found = {key: value for key, value in leaves(config) if key not in without}
    text = json.dumps(found, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: DictConfig, new: DictConfig) -> list[str]:
    """What would change results between two configurations, as `key: old, now new`.

    A run goes on where there is a machine: on a CPU what began on a GPU, too.
    """
    before, after = (
        {key: value for key, value in leaves(config) if key not in MOVES} for config in (old, new)
    )
    return [
        f"{key}: was {before.get(key, 'null')}, is now {after.get(key, 'null')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def leaves(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """What of a configuration matters for results, by dotted key.

    What is null is left out: an option that was not there yet is as one that is not given.
    """
    yield from plain_leaves(as_dict(config))


def plain_leaves(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """As `leaves`, of a configuration read from config.yaml."""
    own = str(config["paths"].get("output_dir"))
    rest = {key: value for key, value in config.items() if key not in IGNORED_ON_RESUME}
    yield from _flat(rest, "", own if "/" in own or "\\" in own else None)


def _flat(value: Any, path: str, own: str | None) -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key, but for copies of the run's own folder and of `SWITCHES`.

    A folder of one word is not looked for: an option may be of the same text.
    """
    if isinstance(value, dict):
        for key, entry in value.items():
            if key not in SWITCHES:
                yield from _flat(entry, f"{path}.{key}" if path else str(key), own)
    elif value is not None and value != own:
        yield path, value
