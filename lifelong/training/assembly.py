"""Objects from a configuration, built in the one order that works."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig, OmegaConf

from lifelong.configuration.keys import reads_fidelity
from lifelong.configuration.options import check_options
from lifelong.configuration.plain import as_dict
from lifelong.configuration.stored import digest_of, read_config, read_environment
from lifelong.data import TaskStream
from lifelong.data.generators import seed_all
from lifelong.data.seeds import derive
from lifelong.errors import reason
from lifelong.measures import Measure
from lifelong.measures.tally import ACCURACY
from lifelong.parts.held_mask import HeldMask
from lifelong.storage.checkpoint import Checkpoint, latest, remove_leftovers
from lifelong.storage.files import sealed, write_json, write_text
from lifelong.storage.results import checksum
from lifelong.strategies import Strategy, Tickets
from lifelong.strategies.answering import EvalMode
from lifelong.strategies.recorded import RecordedSteps, cuda_graph
from lifelong.training.experiment import Experiment
from lifelong.training.features import cache_features
from lifelong.training.machine import device
from lifelong.training.processes import ALONE, Place
from lifelong.training.provenance import continued, environment
from lifelong.training.record import Record
from lifelong.training.refusals import check_trainer, refuse
from lifelong.training.terminal import Terminal


def assemble(
    config: DictConfig,
    strategy_name: str,
    data_name: str,
    folder: Path,
    resuming: bool,
    headline: str = "",
    here: Place = ALONE,
) -> Experiment:
    """Builds all objects, then the folder with config.yaml and environment.json.

    Args:
        config: complete.
        strategy_name: of the method in the results, unless `name` says otherwise.
        data_name: of the stream in the results.
        folder: of the run.
        resuming: whether the folder holds this run's beginning.
        headline: what was said of it already; the log is to have it, too.
        here: which of the run's processes this is.

    Raises:
        ValueError: options that do not fit each other. Nothing is written then.
    """
    _quiet()
    _repeatable()
    check_options(config)
    stream: TaskStream = instantiate(config.data, _convert_="all")
    if config.measure_on == "validation":
        stream.measure_on_validation()
    seed_all(derive(config.seeds.init, "network"))
    strategy: Strategy = instantiate(config.strategy, _convert_="all")
    if config.mask is not None:
        _hold(strategy, config.mask)
    strategy.lifetime = config.optimizer_lifetime
    strategy.groups = as_dict(config.optimizer_groups)
    strategy.flatness = instantiate(config.get("flatness"), _convert_="all")
    strategy.eval_modes = _ways(strategy, stream, config.evaluate)
    strategy.measures = _measures(config)
    refuse(strategy, stream, config)
    _compile(strategy, config.compile)
    if config.cuda_graphs:
        strategy.recorded = RecordedSteps(cuda_graph)
    make_trainer = _on_own_device(config, here)
    unused = check_trainer(make_trainer, config)
    record = _record(config, strategy_name, data_name, stream)
    saved, wrong = latest(folder) if resuming else (None, [])
    began = config if saved is None else read_config(folder / "config.yaml")
    digest = digest_of(began)
    if saved is not None:
        if saved.config not in ("", digest):
            raise ValueError(
                f"resume={config.resume}: the checkpoints in {folder} belong to another "
                "configuration than its config.yaml; give another paths.output_dir"
            )
        _check_images(saved, record, config)
    start = 1 if saved is None else saved.visit + saved.finished
    on = torch.device("cuda" if device(config) == "GPU" else "cpu")
    cache_features(strategy, stream, Path(config.paths.data_dir).expanduser(), on)
    if saved is None:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    record.config = checksum(folder / "config.yaml")
    loggers = [
        make(folder=folder, config=config, start=start)
        for make in instantiate(config.logger).values()
    ]
    remove_leftovers(folder, saved)
    place, moved = _where(config, None if saved is None else began, folder)
    write_json(folder / "environment.json", sealed(place))
    return Experiment(
        stream=stream,
        strategy=strategy,
        record=record,
        make_trainer=make_trainer,
        folder=folder,
        terminal=Terminal(folder, len(stream), headline),
        epochs=config.epochs,
        init_seed=config.seeds.init,
        batch_seed=config.seeds.batches,
        evaluate_every=config.evaluate_every,
        evaluate_on=config.evaluate_on,
        evaluate_every_visits=config.evaluate_every_visits or 1,
        evaluate_every_steps=config.evaluate_every_steps,
        evaluate_images=config.evaluate_images,
        costs=config.costs,
        plasticity=config.plasticity,
        restore_best=config.restore_best,
        checkpoint_every=config.checkpoint_every,
        keep=config.keep,
        loggers=loggers,
        saved=saved,
        digest=digest,
        notes=[
            *unused,
            *(f"{text}; the run goes on from the one before" for text in wrong),
            *moved,
        ],
    )


def _where(
    config: DictConfig, began: DictConfig | None, folder: Path
) -> tuple[dict[str, Any], list[str]]:
    """Where the run is computed, now and before, and what is to be told of it.

    Args:
        config: of the run, as it is given now.
        began: as it was begun; None for a run that has computed nothing yet.
        folder: of the run.
    """
    now = environment(device(config))
    if began is None:
        return now, []
    try:
        found = continued(now, read_environment(folder, began))
    except (OSError, ValueError) as error:
        return now, [f"where the run began is not known any more: {reason(error)}"]
    before, after = found.get("before", [now])[-1]["device"], now["device"]
    if before == after:
        return found, []
    return found, [f"computed on {before} so far, and on {after} from here on"]


def _hold(strategy: Strategy, file: str) -> None:
    if isinstance(strategy, Tickets):
        raise ValueError(
            f"mask={file}: {type(strategy).__name__} has masks of its own; leave it out, or give "
            "strategy=retrain strategy.mask=..."
        )
    strategy.held = HeldMask(strategy.network, file)
    strategy.method["mask"] = {"file": file, "kept": round(strategy.held.kept, 6)}


def _ways(strategy: Strategy, stream: TaskStream, wanted: str) -> tuple[EvalMode, ...]:
    """How answers are measured: both with the task given and without, where that can be had.

    Where a network has a body for each task, asking without the task given takes a pass through
    each of them; it is done if it is asked for.

    Raises:
        ValueError: answers without the task given of a network that cannot give them.
    """
    if not strategy.network.supports_class_incremental(task.classes for task in stream.tasks):
        if wanted == "task":
            return ("task",)
        raise ValueError(
            f"evaluate={wanted}: a single head does not tell the classes of different tasks apart; "
            "use heads=multi or heads=incremental"
        )
    if wanted == "class":
        return ("class", "task")
    return ("task", "class") if wanted == "both" or strategy.network.one_pass else ("task",)


def _measures(config: DictConfig) -> dict[str, Callable[[], Measure]]:
    """The measures that are chosen; a first one of each is made here, so that mistakes show."""
    made: dict[str, Callable[[], Measure]] = instantiate(config.measure, _convert_="all")
    for name, make in made.items():
        if name.startswith(ACCURACY) or name.endswith(("_class", "_task")):
            raise ValueError(
                f"measure.{name}: names with {ACCURACY} at their begin, or _class or _task at "
                "their end, are those of accuracies and of ways to ask; give another name"
            )
        if not callable(make) or not isinstance(make(), Measure):
            raise ValueError(
                f"measure.{name}: makes no lifelong.Measure; give its class as _target_, and "
                "_partial_: true"
            )
    return made


def _on_own_device(config: DictConfig, here: Place) -> Callable[..., Trainer]:
    """Trainers of one of several processes, which know nothing of the others."""
    make = instantiate(config.trainer, _convert_="all")
    if here.size == 1:
        return partial(make, devices=1, num_nodes=1)
    on_gpu = device(config) == "GPU" and torch.cuda.is_available()
    devices: Any = [here.local_rank] if on_gpu else 1
    return partial(make, devices=devices, num_nodes=1, plugins=[LightningEnvironment()])


def _compile(strategy: Strategy, wanted: bool | str) -> None:
    """Has the body compiled, if that is asked for.

    Raises:
        ValueError: a backend that PyTorch does not have.
    """
    if not wanted:
        return
    backend = "inductor" if wanted is True else wanted
    known = [*torch._dynamo.list_backends(), "aot_eager", "eager"]
    if backend not in known:
        raise ValueError(f"compile={wanted}: give true, false, or one of {', '.join(known)}")
    strategy.compile_body(backend)


def _record(config: DictConfig, strategy: str, data: str, stream: TaskStream) -> Record:
    visits, names = [visit.task.index for visit in stream], [task.name for task in stream.tasks]
    record = Record(config.name or strategy, data, config.seed, visits, names)
    record.classes = [task.classes for task in stream.tasks]
    record.class_names = [
        list(task.class_names) or [*map(str, task.classes)] for task in stream.tasks
    ]
    record.fidelity = config.fidelity if reads_fidelity(config) else None
    record.measured_on = config.measure_on
    record.eval_mode = "class" if config.evaluate == "class" else "task"
    if config.published is not None:
        record.published = as_dict(config.published)
    record.images = {"origin": stream.origin, "checksum": stream.checksum()}
    if stream.note:
        record.images["note"] = stream.note
    for part in ("train", "val", "test"):
        record.images[part] = [len(getattr(task, part)) for task in stream.tasks]
    return record


def _check_images(saved: Checkpoint, record: Record, config: DictConfig) -> None:
    began_with = saved.record["images"]
    if began_with["checksum"] != record.images["checksum"]:
        raise ValueError(
            f"resume={config.resume}: the images are not those that the run began with "
            f"(from {began_with['origin']}, now from {record.images['origin']} in "
            f"paths.data_dir={config.paths.data_dir})"
        )


def _repeatable() -> None:
    """Lets a GPU add in the same order every time; what cannot be had so is told by PyTorch."""
    torch.backends.cudnn.deterministic = True
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True, warn_only=True)


def _quiet() -> None:
    """Silences what Lightning says of every Trainer; a run may make dozens."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
