"""`python -m lifelong.run`: composes a configuration, has the experiment built, carries it out."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
import traceback
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lifelong import configuration, files, machine, sweep

if TYPE_CHECKING:
    from lifelong.experiment import Experiment


# Processes of a sweep import this module first, and then find the plugin as well.
sys.path.append(str(Path(__file__).parent / "plugins"))

DEBUG = "LIFELONG_FULL_ERROR"  # 1: the user gave HYDRA_FULL_ERROR=1 and wants to see all
UNTOLD = ("logger", "pair", "tuned")  # groups whose member says nothing of the results


class Stopped(BaseException):
    """The user or the system asked the run to end; the argument is the signal's number."""


class RunFailed(CompactHydraException):
    """A run of a sweep failed; Hydra raises it when the other runs are through."""


def main() -> None:
    """The command line."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        from lifelong.guide import guide

        print(guide(configuration.FOLDER))
        return
    command = hydra.main(
        version_base="1.3", config_path=str(configuration.FOLDER), config_name="config"
    )(_run_one)
    given = get_args_parser().parse_args()
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        os.environ[DEBUG] = "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, which are told below
    nameless = [text for text in given.overrides if not sweep.key_of(text).strip()]
    if nameless:
        print(f"error: {nameless[0]}: names no option; give option=value", file=sys.stderr)
        sys.exit(2)
    try:
        _command(command, given)
    except RunFailed as failed:
        print(failed, file=sys.stderr)
        sys.exit(1)
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ.get(DEBUG) == "1":
            raise
        from lifelong.mistakes import told

        print(f"error: {told(error, given.overrides)}", file=sys.stderr)
        sys.exit(2)


def _command(command: Callable[[], Any], given: Namespace) -> None:
    """Runs Hydra's command; a sweep is planned first."""
    made = None
    if given.multirun and not (given.cfg or given.info):
        try:
            made = sweep.plan(given.overrides)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
    if made is None:
        command()
        return
    sys.argv += made.overrides()
    try:
        with sweep.Watch(made):
            command()
    except KeyboardInterrupt:  # while other processes ran
        sys.exit(128 + signal.SIGINT)


def _run_one(config: DictConfig) -> float | None:
    """One run, alone or of a sweep, where a failing one lets the others go on.

    Returns:
        Of a run of a sweep the final accuracy, which a search makes as large as it can.
    """
    configuration.register()
    settings = HydraConfig.get()
    if config.get("search") is not None:
        print(f"error: search={settings.runtime.choices['search']}: needs -m", file=sys.stderr)
        sys.exit(2)
    config.choices = {
        group: member for group, member in sorted(settings.runtime.choices.items())
        if member is not None and "hydra" not in group and group not in UNTOLD
    }  # fmt: skip
    if config.choices.get("experiment") is not None:
        given = {sweep.key_of(text): text for text in settings.overrides.task}
        config.changed = [text for key, text in given.items() if not _as_published(key)]
    strategy, data = str(config.choices.strategy), str(config.choices.data)
    keys = [sweep.key_of(text) for text in settings.overrides.task]
    added = [sweep.key_of(text) for text in settings.overrides.task if text.startswith("+")]
    if settings.mode != RunMode.MULTIRUN:
        sys.exit(execute(config, strategy, data, keys=keys, added=added))
    folder = Path(settings.sweep.dir) / configuration.run_folder(settings.job.override_dirname)
    config.paths.output_dir = str(folder)
    config.resume = config.resume or "auto"
    sweep.assign_gpu(settings)
    messages: list[str] = []
    try:
        status = execute(config, strategy, data, folder.parent, messages.append, keys, added)
    except Exception as error:
        traceback.print_exc()
        messages.append(f"{type(error).__name__}: {error}")
        status = 1
    if status >= 128:
        sys.exit(status)
    sweep.note_failure(folder, "\n".join(messages) if status else None)
    if status:
        raise RunFailed(f"the run in {folder} failed; its message is above")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    value = results["metrics"]["final_accuracy"]
    return None if value is None else float(value)


def _as_published(key: str) -> bool:
    """Whether a run with this override is still the experiment that it names."""
    others = ("experiment", "trainer", "name", "evaluate_every")
    return sweep.is_unnamed(key) or key in (*configuration.SEEDS, *others)


def execute(
    config: DictConfig,
    strategy: str,
    data: str,
    again: Path | None = None,
    failed: Callable[[str], None] = lambda message: None,
    keys: Sequence[str] = (),
    added: Sequence[str] = (),
) -> int:
    """Runs one composed configuration.

    Args:
        config: the composed configuration.
        strategy: name of the method in the results.
        data: name of the stream in the results.
        again: `paths.output_dir` of the command that goes on after a stop; the run's own folder
            by default.
        failed: is called with the reason of a failure.
        keys: of the overrides that the user gave.
        added: those of them that the user gave with a plus.

    Returns:
        The exit status: 0, 1 for a failed run, 2 for a refusal, 128 + the number of a signal.
    """
    begun = time.perf_counter()
    with warnings.catch_warnings(), _signals(_leave), ExitStack() as hold:
        warnings.filterwarnings("ignore", module="lightning")
        try:
            configuration.check_read(config, keys)
            configuration.check_added(config, added)
            configuration.complete(config)
            asked = config.paths.output_dir
            new = files.absent(Path(asked or "outputs"))
            folder = configuration.output_folder(config, strategy, data)
            hold.callback(_remove_empty, [*([] if asked or config.resume else [folder]), *new])
            hold.enter_context(files.held(folder))
            config.paths.output_dir = str(folder)
            going_on = configuration.holds_this_run(folder, config)
            if going_on and configuration.finished(folder):
                if sweep.QUIET not in os.environ:
                    print(
                        f"{folder} holds this run, finished. Its report: {folder / 'report.html'}"
                    )
                return 0
            number = machine.threads(config)
            headline = _headline(config, strategy, data, folder, number)
            if sweep.QUIET not in os.environ:
                print(headline, flush=True)
            importing = time.perf_counter()
            hold.enter_context(machine.threads_of(number))
            from lifelong.assembly import assemble

            begun += (imports := time.perf_counter() - importing)
            experiment = assemble(config, strategy, data, folder, going_on, headline)
        except Exception as error:  # what cannot be put together is the user's to mend
            if os.environ.get(DEBUG) == "1":
                raise
            print(f"error: {configuration.reason(error)}", file=sys.stderr)
            failed(configuration.reason(error))
            return 2
        if not going_on:
            experiment.record.seconds["imports"] = imports
            experiment.record.seconds["setup"] = time.perf_counter() - begun
        with _signals(_stop):
            return _carry_out(experiment, folder, again or folder, failed)


def _headline(config: DictConfig, strategy: str, data: str, folder: Path, threads: int) -> str:
    """What is going to run, on what, and where; all known before the slow imports."""
    many = "1 thread" if threads == 1 else f"{threads} threads"
    return (
        f"{config.name or strategy} on {data}, seed {config.seed}: {machine.device(config)}, "
        f"{many}, in {folder}"
    )


def _carry_out(
    experiment: Experiment, folder: Path, again: Path, failed: Callable[[str], None]
) -> int:
    """Runs the experiment; whatever ends it, the results say so."""
    from lifelong.evaluation.report import write_report
    from lifelong.loggers import close, conclude
    from lifelong.strategies.strategy import Diverged
    from lifelong.terminal import closing_table

    record, terminal, strategy = experiment.record, experiment.terminal, experiment.strategy
    try:
        experiment.run()
        record.write(folder, "running", strategy.method)
        write_report(folder)
        for logger in experiment.loggers:
            conclude(logger, folder)
        record.write(folder, "finished", strategy.method)
        terminal.say(closing_table(record))
        terminal.say(f"report: {folder / 'report.html'}")
    except Stopped as stopped:
        where = shlex.quote(f"paths.output_dir={again}")
        terminal.say(f"stopped; to go on: the same command with resume=auto {where}")
        return 128 + int(stopped.args[0])
    except Diverged as diverged:
        record.write(folder, "failed", strategy.method)
        terminal.say(f"failed: {diverged}")
        failed(str(diverged))
        return 1
    except Exception:
        record.write(folder, "failed", strategy.method)
        raise
    finally:
        terminal.close()
        for logger in experiment.loggers:
            close(logger, configuration.finished(folder))
    return 0


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `handler`, where signals can be handled at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _leave(number: int, frame: FrameType | None) -> None:
    """Before the run began there is nothing to save, and an import does not bear an exception."""
    print("stopped before the run began", file=sys.stderr, flush=True)
    os._exit(128 + number)


def _remove_empty(new: Sequence[Path]) -> None:
    """Leaves no trace of a run that was refused, in folders that were made for it."""
    for folder in new:
        with suppress(OSError):
            folder.rmdir()


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


if __name__ == "__main__":
    from lifelong.run import main as command  # other processes find its functions by that name

    command()
