"""Runs from Python: `run = lifelong.learn(strategy="ewc", data="digits", seed=1, epochs=3)`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lifelong import errors
from lifelong.configuration.choices import check_choices
from lifelong.configuration.compose import composed
from lifelong.configuration.keys import check_kinds
from lifelong.configuration.members import members
from lifelong.configuration.mistakes import explain
from lifelong.configuration.overrides import check_no_folders, key_of, quoted
from lifelong.configuration.renamed import renamed
from lifelong.training.session import prepared

if TYPE_CHECKING:
    from lifelong.data import TaskStream
    from lifelong.finished.load import Run

BASES = {"Strategy": "finetune"}  # of several members

# Options that a stream made in Python has decided, by what it calls them.
MADE = {"batch_size": "batch_size", "protocol.batch_size": "batch_size", "tasks": "limit"}
# Options of a module as a body, see `lifelong.backbones.Wrapped`.
OF_MODULES = ("fixed", "freeze", "blocks", "cache", "lora", "lora_alpha", "prompts")
SERVED = ("train_transform", "test_transform", "shuffle_seed")  # what it still follows


def learn(*overrides: str, config_dir: str | Path | None = None, **members: Any) -> Run:
    """Learns a stream of tasks, as `lifelong run` does, and gives what was learned.

    It writes the same folder, shows the same lines and the same bar, and can be stopped and gone on
    with: `resume="auto"` and `paths={"output_dir": ...}` as before.

    Args:
        *overrides: as on the command line, such as `"strategy.strength=10"`.
        config_dir: a folder of members of one's own.
        **members: likewise, by keyword: `strategy="ewc"`, `epochs=3`, `paths={"output_dir": "a"}`.
            In place of the name of a member there may be an object: `data=` a `TaskStream`;
            `strategy=` a subclass of `Strategy`; `backbone=` a module from images (b, c, h, w) to
            features, of which a copy is trained.

    Returns:
        The run after its last visit, see `lifelong.load_run`.

    Raises:
        ValueError: options that do not fit each other; nothing is left behind then.
        KeyboardInterrupt: the run was stopped; what is finished is saved.

    >>> run = learn("trainer.threads=1", strategy="finetune", data="digits", tasks=1, epochs=1,
    ...             logger="none", paths={"output_dir": getfixture("tmp_path") / "run"})
    finetune on digits, seed 1: ...
    >>> run.accuracy.shape, sorted(run.tasks)
    ((1, 1), [0])
    """
    objects = {key: value for key, value in members.items() if _is_object(key, value)}
    texts = [*_texts({k: v for k, v in members.items() if k not in objects}), *overrides]
    names = {key: _member(key, value) for key, value in objects.items()}
    base = [f"{key}={member}" for key, (member, _) in names.items()]
    if "strategy=finetune" in base and not {"heads", "experiment"} & {key_of(t) for t in texts}:
        base.append("heads=multi")  # as nearly every method; single is fine-tuning's on some data
    texts = renamed(texts, warnings.warn, own=objects)
    if "strategy" in objects:  # options that its member does not have
        texts = [f"++{t}" if t.startswith("strategy.") else t for t in texts]
    if "backbone" in objects:
        _check_of_module(names["backbone"][1], texts)
        texts = [f"++{t}" if t.startswith("backbone.") else t for t in texts]
    if "data" in objects:
        _check_of_stream(objects["data"], texts)
    own = None if config_dir is None else str(config_dir)
    check_no_folders([*texts])
    check_choices(texts, own)
    try:
        config = composed([*base, *texts], own)
        check_kinds(config, [key_of(text) for text in texts])
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, texts, own)) from None
    _place(config, objects, [key_of(text) for text in texts])
    strategy, data = (
        names[key][1] if key in names else str(config.choices[key]) for key in ("strategy", "data")
    )
    try:
        return _learned(config, strategy, data, texts)
    except (HydraException, OmegaConfBaseException) as error:  # around what objects say
        raise ValueError(errors.reason(error)) from (error if errors.debugging() else None)


def _learned(config: DictConfig, strategy: str, data: str, overrides: Sequence[str]) -> Run:
    from lifelong.finished.load import load_run

    keys = [key_of(text) for text in overrides]
    added = [key_of(text) for text in overrides if text.startswith("+")]
    with prepared(config, strategy, data, keys, added) as session:
        try:
            session.run()
        except Exception:
            session.fail()
            raise
        finally:
            session.close()
        return load_run(session.folder, trust=True)


def _is_object(key: str, value: Any) -> bool:
    """Whether a keyword is an object in place of a member.

    Raises:
        ValueError: an object where there can be none.
    """
    plain = value is None or isinstance(
        value, str | int | float | bool | Mapping | list | tuple | Path
    )
    if not plain and key not in ("data", "strategy", "backbone"):
        raise ValueError(f"{key}: give a name or a value, not {type(value).__name__}")
    return not plain


def _texts(values: Mapping[str, Any], parent: str = "") -> Iterable[str]:
    """Overrides of keywords; a dict gives those below its key."""
    for key, value in values.items():
        name = f"{parent}{key}"
        if isinstance(value, Mapping) and value:
            yield from _texts(value, f"{name}.")
        else:
            yield f"{name}={_text(value)}"


def _text(value: Any) -> str:
    """A value as Hydra reads it.

    >>> _text([1, "a b", None, True, {"x": 2.5}])
    '[1,"a b",null,true,{x:2.5}]'
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return text if text.isidentifier() else quoted(text)


def _member(key: str, value: Any) -> tuple[str, str]:
    """The member with whose configuration that of an object begins; a name for the object.

    Raises:
        ValueError: an object of another kind than the group's.
    """
    from torch import nn

    from lifelong.data import TaskStream
    from lifelong.strategies import Strategy

    if key == "data" and isinstance(value, TaskStream):
        return "_given", str(value.name)
    if key == "strategy" and isinstance(value, type) and issubclass(value, Strategy):
        if "<locals>" in value.__qualname__:
            raise ValueError(
                f"strategy={value.__name__}: is defined inside a function, where a run that goes "
                "on cannot find it; define it at the top of a module or of a notebook's cell"
            )
        return _base_of(value), value.__name__
    if key == "backbone" and isinstance(value, nn.Module):
        return "module", type(value).__name__
    wanted = {"data": "a TaskStream", "strategy": "a subclass of Strategy", "backbone": "a module"}
    raise ValueError(f"{key}: give the name of a member or {wanted[key]}, not {value!r}")


def _base_of(strategy: type) -> str:
    """The member of the nearest class that has one."""
    targets: dict[str, str] = {}
    for name, member in members("strategy").items():
        for line in member.text().splitlines():
            if line.strip().startswith("_target_: lifelong.strategies."):
                targets.setdefault(line.rpartition(".")[2].strip(), name)
    targets |= BASES
    ours = [each for each in strategy.__mro__ if each.__module__.startswith("lifelong.")]
    return next(targets[each.__name__] for each in ours if each.__name__ in targets)


def _check_of_stream(stream: TaskStream, texts: Sequence[str]) -> None:
    """Refuses options that a stream which is made already would not follow.

    Raises:
        ValueError: one of these.
    """
    for text in texts:
        key = key_of(text)
        option = key.removeprefix("data.")
        if key in MADE or (option != key and option not in SERVED):
            raise ValueError(
                f"{text}: the stream {stream.name} is made already; give it "
                f"{MADE.get(key, option)}= where it is made"
            )


def _check_of_module(name: str, texts: Sequence[str]) -> None:
    """Refuses options that a module which is made already does not have.

    Raises:
        ValueError: one of these.
    """
    for text in texts:
        group, _, option = key_of(text).partition(".")
        if group == "backbone" and option not in OF_MODULES:
            raise ValueError(
                f"{text}: the module {name} is made already; give its options where it is made, "
                f"or one of backbone.{', backbone.'.join(OF_MODULES)}"
            )


def _check_made(body: Any, shape: Sequence[int]) -> None:
    """Refuses a module that has no weights yet: those of the first call tell runs apart."""
    from torch.nn.parameter import is_lazy

    if any(map(is_lazy, (*body.parameters(), *body.buffers()))):
        raise ValueError(
            f"backbone={type(body).__name__}: has weights that are made at its first call; call it "
            f"once before, module(torch.zeros(2, {', '.join(map(str, shape))}))"
        )


def _place(config: DictConfig, objects: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Puts objects into the configuration, in place of what their members say."""
    from lifelong.networks.given import keep

    OmegaConf.set_struct(config, False)
    stream = objects.get("data")
    if stream is not None:
        shape = list(stream.tasks[0].test.x.shape[1:])
        config.data.update({"digest": keep("data", stream), "shape": shape})
        if stream.tasks[0].test.transform is not None:
            config.data.transformed = True
        config.choices.data = stream.name
        config.protocol.batch_size = stream.batch_size
    if objects.get("backbone") is not None:
        _check_made(objects["backbone"], config.data.shape)
        told = [key for key in OF_MODULES if f"backbone.{key}" in keys]
        config.backbone = {key: config.backbone[key] for key in told} | {
            "_target_": "lifelong.networks.given.given", "_partial_": True, "kind": "backbone",
            "digest": keep("backbone", objects["backbone"]), "shape": "${data.shape}",
        }  # fmt: skip
        config.choices.backbone = type(objects["backbone"]).__name__
    own = objects.get("strategy")
    if own is not None:
        config.strategy._target_ = f"{own.__module__}.{own.__qualname__}"
        config.choices.strategy = own.__name__
    OmegaConf.set_struct(config, True)
