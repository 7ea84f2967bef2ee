"""The composed configuration: where it lies, what is refused, what two runs differ in.

Nothing here imports torch, so that help and refusals answer at once.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, Unpack, get_args, get_origin, get_type_hints

import yaml
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationToMissingValueError

from lifelong import files, frame
from lifelong.files import LOCK, OURS

_PACKAGE = Path(__file__).resolve().parent
# Beside the package in a checkout, inside it when installed.
FOLDER = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if p.is_dir())

PROTOCOL = ("epochs", "batch_size", "lr")  # null: the protocol of the data and strategy
FILLED_IN = ("choices", "changed", "threads")  # notes of the run
MOST = 1_000_000_000  # of a whole number at the top level that is no seed
TEXTS = ("name", "resume", "paths.data_dir", "paths.output_dir")  # whatever they look like
LONGEST = 72  # bytes of the name of a run's folder in a sweep, but for its digest
LONGEST_NAME = 255  # bytes of a name, of usual file systems
# How a run is carried out, which changes no result.
HANDLING = ("paths", "resume", "logger", "keep", "checkpoint_every", "download", "threads")
# What may differ between the two parts of a resumed run; the others only say what is known of it.
HARMLESS = (*HANDLING, "published", "choices", "changed")
# What runs that are averaged may differ by.
SEEDS = (
    "seed", "seeds.init", "seeds.batches", "data.seed", "data.shuffle_seed", "data.class_seed",
    "data.order_seed", "strategy.run",
)  # fmt: skip

SECTIONS = {"strategy", "data", "paths"}  # that config.yaml of a run has in any case
LARGEST, DEEPEST = 1 << 20, 50  # bytes and levels of a config.yaml that is read
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What a run reads whatever it is made of; all else only if one of these refers to it.
ROOTS = (
    "strategy", "data", "trainer", "logger", "measure", "epochs", "batch_size", "lr", "tasks",
    "restore_best", "evaluate_every", "optimizer_lifetime", "optimizer_groups", "compile", "seeds",
    "paths",
)  # fmt: skip
# Groups and keys that not every strategy reads.
UNREAD_BY_SOME = (
    "transfer", "backbone", "heads", "optimizer", "schedule", "unlabeled", "deconvolution",
    "multi_head",
)  # fmt: skip

# Options that cut a source into tasks, and beside what each has an effect; files in conf/data give
# many of them at once, so only those of a command are looked at.
SPLIT_ACTS_WITH = {
    "tasks": "classes=null",
    "shuffle_classes": "classes=null",
    "class_seed": "classes=null and shuffle_classes=True",
    "fraction": "per_class=null and shares=null",
    "images_per_class": "per_class=null and shares=null",
    "validation": "per_class=null and shares=null",
}

_WHOLE = {  # least values of the whole numbers at the top level
    "seed": 0,
    "seeds.init": 0,
    "seeds.batches": 0,
    "data.seed": 0,
    "epochs": 1,
    "batch_size": 1,
    "tasks": 1,
    "evaluate_every": 0,
    "evaluate_every_steps": 0,
    "evaluate_images": 1,
    "checkpoint_every": 0,
    "restore_best": 0,
}
_CHOICES = {
    "evaluate": ("task", "both", "class"),
    "evaluate_on": ("seen", "all"),
    "costs": (True, False),
    "measure_on": ("test", "validation"),
    "keep": ("latest", "all"),
    "fidelity": ("clean", "authors"),
    "optimizer_lifetime": ("epoch", "task", "stream"),
    "download": (True, False),
}


# What Hydra itself reads of a node with a target.
_HYDRA = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def register() -> None:
    """Makes the resolver known: of values that fidelity decides."""
    OmegaConf.register_new_resolver("by_fidelity", _by_fidelity, replace=True)


def _by_fidelity(clean: Any, authors: Any, *, _root_: DictConfig) -> Any:
    """`${by_fidelity:<clean>,<authors>}`: the value that goes with the top-level `fidelity`."""
    return authors if _root_.fidelity == "authors" else clean


def run_folder(overrides: str) -> str:
    """A folder's name from the overrides of a run: short enough, and distinct all the same."""
    plain = re.sub(r"(?<=\w)/(?=\w)", "_", overrides).replace(",", "_")
    name = re.sub(r"[^\w.=+-]+", "_", plain) or "run"
    if len(name.encode()) > LONGEST or (overrides and name != plain):
        digest = hashlib.sha256(overrides.encode()).hexdigest()[:8]
        name = f"{name.encode()[:LONGEST].decode(errors='ignore')}_{digest}"
    return name


def complete(config: DictConfig) -> None:
    """Checks the values at the top level and fills in the protocol's where they are null.

    Raises:
        ValueError: the option, its value, and what would do.
    """
    missing = _missing(config)
    if missing:
        raise ValueError(f"{missing[0]} is not given; its file in conf/ says what it is")
    _take_texts(config)
    for key in PROTOCOL:
        if config[key] is None:
            online = key == "epochs" and config.data.get("online")
            config[key] = 1 if online else config.protocol[key]
    for key, least in _WHOLE.items():
        _check_whole(key, OmegaConf.select(config, key), least)
    _check_rate(config.lr)
    _check_groups(config.get("optimizer_groups"))
    _check_evaluation(config)
    for key, allowed in _CHOICES.items():
        if config[key] not in allowed:
            raise ValueError(f"{key}={config[key]}: give {' or '.join(map(str, allowed))}")
    _check_fidelity(config)
    if config.checkpoint_every % max(config.evaluate_every, 1):
        raise ValueError(
            f"checkpoint_every={config.checkpoint_every}: give a multiple of "
            f"evaluate_every={config.evaluate_every}"
        )
    _take_threads(config)


def _take_texts(config: DictConfig) -> None:
    """Names are texts whatever they look like, such as a folder called 2024."""
    for key in TEXTS:
        value = OmegaConf.select(config, key)
        if value is not None and not isinstance(value, str):
            OmegaConf.update(config, key, str(value))
    for key in ("resume", "paths.data_dir"):
        value = OmegaConf.select(config, key)
        if value is not None:
            frame.check_named(key, value)


def _take_threads(config: DictConfig) -> None:
    """Moves `trainer.threads`, which no Trainer knows and no result depends on, to the top."""
    threads = config.trainer.get("threads", "auto")
    if threads != "auto":
        _check_whole("trainer.threads", threads, 1)
    with open_dict(config):
        config.threads = threads
        config.trainer.pop("threads", None)


def read_keys(config: DictConfig) -> set[str]:
    """The keys that a run reads: those of `ROOTS` and what these refer to, in turn."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    found: set[str] = set()
    waiting = [str(key) for key, value in plain.items() if key in ROOTS]
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found.add(key)
        value: Any = plain
        for part in re.findall(r"[^.\[\]]+", key):
            value = value.get(part) if isinstance(value, dict) else None
        waiting += _references(value)
    return found


def _references(value: Any) -> Iterator[str]:
    """The keys that a part of a configuration refers to."""
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _references(entry)
    elif isinstance(value, str):
        yield from re.findall(r"\$\{([\w.]+)", value)
        if "${by_fidelity:" in value:
            yield "fidelity"


def reads_fidelity(config: DictConfig) -> bool:
    """Whether anything of the run departs from its paper with `fidelity=authors`."""
    return "fidelity" in read_keys(config)


def check_read(config: DictConfig, overrides: Iterable[str]) -> None:
    """Refuses overrides of what the run does not read, such as `strategy=ewc transfer=top2`.

    Args:
        config: composed.
        overrides: keys of the command.

    Raises:
        ValueError: the key, and the members that do not read it.
    """
    read, overrides = {key.split(".")[0] for key in read_keys(config)}, list(overrides)
    for key in overrides:
        group = re.split(r"[./@]", key)[0]
        if group in UNREAD_BY_SOME and group not in read:
            raise ValueError(
                f"{key}: strategy={config.choices.strategy} on data={config.choices.data} does "
                f"not read {group}; leave it out"
            )
    _check_split(config, overrides)


def check_kinds(config: DictConfig, overrides: Iterable[str]) -> None:
    """Refuses values for what has options of its own, such as `paths=x`, or is filled in.

    Args:
        config: composed.
        overrides: keys of the command.

    Raises:
        ValueError: the key, and what would do.
    """
    known = _main_file()
    for key in overrides:
        if key in FILLED_IN:
            raise ValueError(f"{key}={config[key]}: is filled in by the run; leave it out")
    groups = {str(key): list(of) for key, of in known.items() if OmegaConf.is_dict(of)}
    groups["published"] = ["<metric>"]
    groups.pop("hydra")  # which is not in a composed configuration
    for key, inside in groups.items():
        value = config.get(key)
        if not OmegaConf.is_dict(value) and not (value is None and known.get(key) is None):
            ways = ", ".join(f"{key}.{each}" for each in inside)
            shown = "null" if value is None else value
            raise ValueError(f"{key}={shown}: has options of its own; give {ways}")


def check_added(config: DictConfig, keys: Iterable[str]) -> None:
    """Refuses new keys at the top level that nothing reads, such as `+epoch=3`.

    Args:
        config: composed.
        keys: that the command gave with a plus.

    Raises:
        ValueError: the key.
    """
    known = _main_file().keys() | read_keys(config)
    for key in keys:
        top = re.split(r"[./@]", key)[0]
        if top not in known and not (FOLDER / top).is_dir() and top != "hydra":
            like = get_close_matches(top, sorted(map(str, known)), 1, 0.6)
            asked = f"did you mean {like[0]}?" if like else "leave it out"
            raise ValueError(f"+{key}: nothing reads {top}; {asked}")


@functools.cache
def _main_file() -> DictConfig:
    """The options at the top level, as conf/ has them."""
    found = OmegaConf.load(FOLDER / "config.yaml")
    assert isinstance(found, DictConfig)
    return found


def _check_split(config: DictConfig, overrides: Iterable[str]) -> None:
    """Refuses options of a stream that another one of the command makes idle."""
    options = {str(key): config.data[key] for key in config.data}
    options.setdefault("shares", None)
    if isinstance(options.get("classes"), str):  # a file, in whose order they are cut into tasks
        options["classes"] = None
    for key, condition in SPLIT_ACTS_WITH.items():
        known = all(name in options for name in re.findall(r"(\w+)=", condition))
        if f"data.{key}" in overrides and known and not _holds(condition, options):
            raise _idle("data", key, options[key], condition)


def _check_evaluation(config: DictConfig) -> None:
    """Refuses what acts only beside tests inside visits, where there are none."""
    images = config.evaluate_images
    if not config.evaluate_every_steps and images != _main_file().evaluate_images:
        raise ValueError(
            f"evaluate_images={images}: has no effect beside evaluate_every_steps=0; give a number "
            "of steps"
        )


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


def _check_fidelity(config: DictConfig) -> None:
    if config.fidelity != "clean" and not reads_fidelity(config):
        raise ValueError(
            f"fidelity={config.fidelity}: nothing of this run departs from its paper in the "
            "authors' program, or what does is set by itself; leave fidelity out"
        )


def _check_rate(lr: Any) -> None:
    if not isinstance(lr, int | float) or isinstance(lr, bool) or not 0 < lr < float("inf"):
        raise ValueError(f"lr={lr}: give a learning rate above 0")


def _check_whole(key: str, value: Any, least: int) -> None:
    if value is None and key == "tasks":
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        also = "auto or " if key == "trainer.threads" else ""
        raise ValueError(f"{key}={value}: give {also}a whole number, {least} or more")
    if value > MOST and key not in SEEDS:
        raise ValueError(f"{key}={value}: give a whole number of at most {MOST:,}")


def check_options(node: Any, path: str = "") -> None:
    """Checks the plain values of nodes with a `_target_`: their types, and that they act.

    Types are the target's annotations. Where a target has a table `acts_with`, {option: condition},
    an option that is not at its default needs its condition, such as `rule=adam` or
    `likelihood=null and prior!=fixed or em=paper|release`, about other options of the same node.
    What refers to another value (`${...}`) was set by nobody and is left alone.

    Raises:
        ValueError: the option, its value and what would do; or a target that is not there.
    """
    if isinstance(node, ListConfig):
        for index, value in enumerate(node):
            check_options(value, f"{path}[{index}]")
    elif isinstance(node, DictConfig):
        if "_target_" in node:  # before what lies deeper and may refer to it
            _check_built(node, path)
        for key in node:
            check_options(node[key], f"{path}.{key!s}" if path else str(key))


def _check_built(node: DictConfig, path: str) -> None:
    """The options of a node itself, see `check_options`."""
    found = _target(node["_target_"], path)
    hints, options = _annotations(found)
    for key in map(str, node):
        name = f"{path}.{key}" if path else key
        if options is not None and key not in options | _HYDRA:
            way = f"with ~{name}" if node[key] is not None else "in a member of your own"
            raise ValueError(f"{name}: {node['_target_']} has no such option; leave it out {way}")
        if key in hints and not _holds_nodes(node[key]):
            _check_type(name, node[key], hints[key])
        if isinstance(node[key], float) and not math.isfinite(node[key]):
            raise ValueError(f"{name}={node[key]}: give a finite number")
    values = {str(key): node[key] for key in node}
    typed = {k: v for k, v in values.items() if not OmegaConf.is_interpolation(node, k)}
    _refuse_idle(found, path, typed, values)


def _refuse_idle(
    target: Any, path: str, typed: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Refuses options that are not at their defaults and have no effect, see `check_options`.

    Args:
        target: what has the options, and maybe a table `acts_with`.
        path: of the options.
        typed: options that somebody set.
        given: all options of the node.

    Raises:
        ValueError: the option, its value and what would make it act.
    """
    conditions: Mapping[str, str] = getattr(target, "acts_with", {})
    parameters = inspect.signature(target).parameters if conditions else {}
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    values = defaults | dict(given)
    for option, condition in conditions.items():
        if option in typed and values[option] != defaults[option] and not _holds(condition, values):
            raise _idle(path, option, values[option], condition)


def _idle(path: str, option: str, value: Any, condition: str) -> ValueError:
    """Of an option without effect, with the condition under which it has one."""
    shown = re.sub(r"(\w+)(!?=)", rf"{path}.\1\2", condition).replace("|", " or ")
    return ValueError(
        f"{path}.{option}={value}: only with {shown.replace('!=', ' other than ')}; else it has no "
        "effect"
    )


def _holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Whether a condition of `acts_with` is met by a node's values."""

    def met(part: str) -> bool:
        key, sign, wanted = re.fullmatch(r"(\w+)(!?=)(.*)", part).groups()  # type: ignore[union-attr]
        value = "null" if values[key] is None else str(values[key])
        return (value in wanted.split("|")) == (sign == "=")

    return any(all(map(met, way.split(" and "))) for way in condition.split(" or "))


def _holds_nodes(value: Any) -> bool:
    """Whether a value is a node to build an object of, or a list of such."""
    items = value if isinstance(value, ListConfig) else [value]
    return any(isinstance(item, DictConfig) for item in items)


def _target(name: str, path: str) -> Any:
    """What a node is to be built with."""
    try:
        return get_object(name)
    except Exception as error:  # whatever importing a module of the user's brings up
        raise ValueError(f"{path}._target_={name}: {error}") from None


def _annotations(found: Any) -> tuple[dict[str, Any], set[str] | None]:
    """Types of a target's parameters, and their names; None if it takes any."""
    constructor = inspect.getattr_static(found, "__init__") if isinstance(found, type) else found
    hints = get_type_hints(constructor)
    parameters = inspect.signature(constructor).parameters.values()
    names = {parameter.name for parameter in parameters}
    rest = [hints.get(p.name) for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD]
    for hint in rest:
        if get_origin(hint) is Unpack:
            hints |= get_type_hints(get_args(hint)[0])
            names |= get_type_hints(get_args(hint)[0]).keys()
    takes_any = any(get_origin(hint) is not Unpack for hint in rest)
    return hints, None if takes_any else names


def _check_type(name: str, value: Any, hint: Any) -> None:
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    plain = OmegaConf.to_container(value) if isinstance(value, ListConfig) else value
    for form in (plain, tuple(plain)) if isinstance(plain, list) else (plain,):
        with suppress(TypeCheckError):
            check_type(form, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
            return
    shown = "null" if plain is None else plain
    raise ValueError(f"{name}={shown}: give {_wanted(hint)}")


def _wanted(hint: Any) -> str:
    """A type in words."""
    if hint is type(None):
        return "null"
    if get_origin(hint) is Literal:
        return " or ".join(str(value) for value in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        parts = " or ".join(_wanted(part) for part in get_args(hint)).split(" or ")
        return " or ".join(dict.fromkeys(parts))
    if get_origin(hint) is not None and issubclass(get_origin(hint), Sequence):
        return f"a list of {_wanted(get_args(hint)[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def output_folder(config: DictConfig, strategy: str, data: str) -> Path:
    """The run's folder: the one to resume, the one that was asked for, or a new dated one.

    Raises:
        ValueError: none that a run can have.
    """
    if config.resume not in (None, "auto"):
        folder = Path(config.resume)
        if not (folder / "config.yaml").exists():
            raise ValueError(
                f"resume={folder}: holds no run (no config.yaml); give the folder of a run, or "
                "resume=auto with paths.output_dir"
            )
        return folder
    if config.paths.output_dir is not None:
        return checked_folder(str(config.paths.output_dir))
    if config.resume == "auto":
        raise ValueError("resume=auto: also give paths.output_dir, the folder of the run")
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    base, number = Path("outputs") / f"{stamp}_{strategy}_{data}", 1
    folder = base
    while not taken(folder):
        number += 1
        folder = base.with_name(f"{base.name}_{number}")
    return folder


def checked_folder(given: str) -> Path:
    """The folder that `paths.output_dir` names.

    Raises:
        ValueError: a file, or a name that no file system takes.
    """
    frame.check_named("paths.output_dir", given)
    folder = Path(given).expanduser()
    if "\0" in given or any(len(os.fsencode(part)) > LONGEST_NAME for part in folder.parts):
        raise ValueError(
            f"paths.output_dir={given}: has a name of more than {LONGEST_NAME} bytes, or of null "
            "characters; give another"
        )
    if any(place.is_file() for place in (folder, *folder.parents)):
        raise ValueError(f"paths.output_dir={folder}: is a file, or in one; give a folder")
    return folder


def taken(folder: Path) -> bool:
    """Makes the folder; tells whether it is new, which of several processes one alone is told."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def finished(folder: Path) -> bool:
    """Whether the folder's results are those of a finished run."""
    try:
        results = files.read_json(folder / "results.json")
    except (OSError, ValueError):
        return False
    return bool(results.get("status") == "finished")


def holds_this_run(folder: Path, config: DictConfig) -> bool:
    """Whether the folder holds the beginning of this run.

    Raises:
        ValueError: it holds another run, or one that was not to be resumed.
    """
    path = folder / "config.yaml"
    if not path.exists():
        _check_free(folder)
        return False
    if config.resume is None:
        state = "a finished" if finished(folder) else "an unfinished"
        raise ValueError(
            f"paths.output_dir={folder}: holds {state} run; give another folder, or resume=auto "
            "to go on with that one"
        )
    old = read_config(path)
    changed = "; ".join(differences(old, config))
    if changed:
        raise ValueError(
            f"resume={config.resume}: the run in {folder} has another configuration; {changed}. "
            "Give the same options, or another paths.output_dir"
        )
    return True


def _check_free(folder: Path) -> None:
    """Refuses a folder with files that are not known to be of this run."""
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in found if name != LOCK and not OURS.fullmatch(name)]
    if any(re.fullmatch(r"(visit_\d+|partial)\.ckpt", name) for name in others):
        raise ValueError(
            f"paths.output_dir={folder}: holds checkpoints and no config.yaml, so of which run "
            "they are is not known; give another folder"
        )
    if others:
        raise ValueError(
            f"paths.output_dir={folder}: holds {others[0]!r}, which is no run's; give a new or an "
            "empty folder"
        )


def read_config(path: Path) -> DictConfig:
    """The configuration of a run.

    Raises:
        ValueError: a file that is missing, damaged or of something else.
    """
    found = OmegaConf.create(_config_of(path, lambda text: OmegaConf.create(text)))
    assert isinstance(found, DictConfig)
    return found


def read_plain(path: Path) -> dict[str, Any]:
    """As `read_config`, quicker, as a plain dictionary."""
    found = _config_of(path, lambda text: yaml.load(text, Loader=_LOADER))
    assert isinstance(found, dict)
    return found


def _config_of(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        text = path.read_bytes()[: LARGEST + 1].decode()
        if len(text) > LARGEST or not _is_plain(text):
            raise ValueError("it is larger or deeper than any of ours, or refers to itself")
        found = parse(text)
    except Exception as error:  # of YAML and of OmegaConf, of many kinds
        why = frame.reason(error).splitlines()[0]
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


def digest(config: DictConfig, without: Sequence[str] = ()) -> str:
    """Of all that matters for results, but for some keys; checkpoints carry it."""
    found = {key: value for key, value in leaves(config) if key not in without}
    text = json.dumps(found, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: DictConfig, new: DictConfig) -> list[str]:
    """What would change results between two configurations, as `key: old, now new`."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        f"{key}: was {before.get(key, 'absent')}, is now {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, "absent") != after.get(key, "absent")
    ]


def leaves(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """What of a configuration matters for results, by dotted key."""
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    yield from plain_leaves(resolved)  # type: ignore[arg-type]


def plain_leaves(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """As `leaves`, of a configuration read from config.yaml."""
    paths = {str(value) for value in config["paths"].values() if value is not None}
    rest = {key: value for key, value in config.items() if key not in HARMLESS}
    yield from _flat(rest, "", paths)


def _flat(value: Any, path: str, ignored: set[str]) -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key, but for copies of paths and of the download switch."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key not in ("data_dir", "download"):
                yield from _flat(entry, f"{path}.{key}" if path else str(key), ignored)
    elif str(value) not in ignored:
        yield path, value
