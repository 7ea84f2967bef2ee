"""`python -m lifelong.run`: composes the configuration, puts the experiment together, runs it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lifelong import configuration
from lifelong.files import write_json, write_text

_failures: list[str] = []  # of the runs of a sweep


class Stopped(BaseException):
    """The user or the system asked the run to end."""


def main() -> None:
    """The command line."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        from lifelong.guide import guide

        print(guide(configuration.FOLDER))
        return
    _register()
    hydra.main(version_base="1.3", config_path=str(configuration.FOLDER), config_name="config")(
        _run_one
    )()
    if _failures:
        print("failed: " + "; ".join(_failures), file=sys.stderr)
        sys.exit(1)


def _register() -> None:
    OmegaConf.register_new_resolver(
        "sweep_folder",
        lambda folder, now: folder or f"outputs/{now}_sweep",
        replace=True,
    )


def _run_one(config: DictConfig) -> None:
    """One run; a user's mistake ends it with one message, also in the middle of a sweep."""
    hydra_config = HydraConfig.get()
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    names = {group: str(hydra_config.runtime.choices[group]) for group in ("strategy", "data")}
    if sweeping:
        config.paths.output_dir = str(Path(hydra_config.sweep.dir) / hydra_config.sweep.subdir)
    try:
        status = execute(config, **names)
    except Exception:
        if not sweeping:
            raise
        import traceback

        traceback.print_exc()
        status = 1
    if status and sweeping and status < 128:
        _failures.append(str(config.paths.output_dir))
    elif status:
        sys.exit(status)


def execute(config: DictConfig, strategy: str, data: str) -> int:
    """Runs one composed configuration; gives the exit status.

    Args:
        config: the composed configuration.
        strategy: name of the method in the results.
        data: name of the stream in the results.
    """
    begun = time.perf_counter()
    try:
        configuration.complete(config)
        folder = configuration.output_folder(config, strategy, data)
        config.paths.output_dir = str(folder)
        going_on = _check_folder(folder, config)
    except ValueError as error:
        return _fail(str(error))
    if going_on and _finished(folder):
        print(f"{folder} holds this run, finished. Its report: {folder / 'report.html'}")
        return 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            experiment = _assemble(config, strategy, data, folder, going_on)
        except Exception as error:  # what cannot be put together is the user's to mend
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            return _fail(_told(error))
        return _carry_out(experiment, folder, begun)


def _check_folder(folder: Path, config: DictConfig) -> bool:
    """Whether the folder holds this run; an error if it holds another, or must not be touched."""
    path = folder / "config.yaml"
    if not path.exists():
        if folder.is_file():
            raise ValueError(f"paths.output_dir={folder}: is a file; give a folder")
        return False
    if config.resume is None:
        state = "a finished" if _finished(folder) else "an unfinished"
        raise ValueError(
            f"paths.output_dir={folder}: holds {state} run; give another folder, or resume=auto "
            "to go on with that one"
        )
    old = OmegaConf.load(path)
    assert isinstance(old, DictConfig)
    changed = configuration.differences(old, config)
    if changed:
        raise ValueError(
            f"resume={config.resume}: the run in {folder} has another configuration; "
            + "; ".join(changed)
            + ". Give the same options, or another paths.output_dir"
        )
    return True


def _finished(folder: Path) -> bool:
    import json

    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(results.get("status") == "finished")


def _assemble(
    config: DictConfig, strategy_name: str, data_name: str, folder: Path, going_on: bool
) -> Any:
    """Builds all objects; whatever does not fit is refused here, before anything is written."""
    import torch
    from hydra.utils import instantiate

    from lifelong.checkpoint import latest
    from lifelong.environment import environment
    from lifelong.evaluation.record import Record
    from lifelong.experiment import Experiment
    from lifelong.seeds import derive
    from lifelong.terminal import Terminal

    _quiet()
    torch.backends.cudnn.deterministic = True
    configuration.check_types(config)
    stream = instantiate(config.data, _convert_="all")
    torch.manual_seed(derive(config.seeds.init, "network"))
    strategy = instantiate(config.strategy, _convert_="all")
    strategy.evaluate_classes = config.evaluate == "both"
    _refuse(strategy, config)
    make_trainer = instantiate(config.trainer, _convert_="all")
    make_trainer(logger=False)  # options that the Trainer refuses are refused now
    saved = latest(folder) if going_on else None
    visits = [task.index for task in stream]
    record = Record(
        config.name or strategy_name, data_name, config.seed, visits, [t.name for t in stream.tasks]
    )
    record.images = {
        "origin": stream.origin,
        **{part: [len(getattr(task, part)) for task in stream.tasks] for part in _PARTS},
    }
    if not going_on:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    write_json(folder / "environment.json", environment())
    start = 0 if saved is None else saved.step + saved.finished
    loggers = [
        make(folder=folder, config=config, start=start)
        for make in instantiate(config.logger).values()
    ]
    return Experiment(
        stream=stream,
        strategy=strategy,
        record=record,
        make_trainer=make_trainer,
        folder=folder,
        terminal=Terminal(folder, len(stream)),
        epochs=config.epochs,
        init_seed=config.seeds.init,
        batch_seed=config.seeds.batches,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.checkpoint_every,
        keep=config.keep,
        loggers=loggers,
        saved=saved,
    )


_PARTS = ("train", "val", "test")


def _refuse(strategy: Any, config: DictConfig) -> None:
    """Combinations that the method says it cannot do."""
    wanted = {"devices": config.trainer.devices != 1, "precision": _mixed(config.trainer.precision)}
    for option, asked in wanted.items():
        if asked and option in strategy.refuses:
            raise ValueError(
                f"trainer.{option}={config.trainer[option]}: {type(strategy).__name__} cannot do "
                f"that: {strategy.refuses[option]}"
            )


def _mixed(precision: Any) -> bool:
    return str(precision) not in ("32", "32-true", "64", "64-true", "None")


def _carry_out(experiment: Any, folder: Path, begun: float) -> int:
    """Runs the experiment; whatever ends it leaves results that say so."""
    from lifelong.evaluation.report import write_report
    from lifelong.terminal import closing_table

    record, terminal, method = experiment.record, experiment.terminal, experiment.strategy.method
    if experiment.saved is None:
        record.seconds["setup"] = time.perf_counter() - begun
    handlers = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        experiment.run()
        method = experiment.strategy.method
        record.write(folder, "finished", method)
        write_report(folder)
        terminal.progress.stop()
        terminal.say(closing_table(record))
        terminal.say(f"report: {folder / 'report.html'}")
    except Stopped as stopped:
        terminal.progress.stop()
        terminal.say(
            f"stopped; to go on: the same command with resume=auto paths.output_dir={folder}"
        )
        return 128 + int(stopped.args[0])
    except Exception:
        record.write(folder, "failed", method)
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        terminal.close()
        for logger in experiment.loggers:
            logger.finalize("success")
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _quiet() -> None:
    """Silences what Lightning says of every Trainer; a run may make dozens."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _told(error: BaseException) -> str:
    """The message of the error that started it all."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
