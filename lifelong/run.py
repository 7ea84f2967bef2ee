"""`python -m lifelong.run`: composes a configuration, has the experiment built, carries it out."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lifelong import errors
from lifelong.configuration.choices import check_choices, check_experiments
from lifelong.configuration.compose import FOLDER, note_choices, register
from lifelong.configuration.folders import FAILURES, run_folder
from lifelong.configuration.keys import check_kinds
from lifelong.configuration.members import config_dir_of, own_folder
from lifelong.configuration.overrides import check_no_folders, key_of, readable
from lifelong.configuration.renamed import renamed
from lifelong.storage.files import read_json
from lifelong.storage.locks import absent, cleared, held, remove_leftovers
from lifelong.sweeps.plan import check_folder, plan
from lifelong.sweeps.standing import note_failure
from lifelong.sweeps.watch import SweepMonitor, assign_gpu
from lifelong.training.processes import together
from lifelong.training.session import Session, prepared

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a scheduler, a terminal that is gone

AGAIN = 0.02  # seconds after which a lost signal is sent again


class Stopped(BaseException):
    """The user or the system asked the run to end; the argument is the signal's number."""


def main() -> None:
    """The command line."""
    sys.exit(errors.command(_main))


def _main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        from lifelong.configuration.help import guide

        print(guide(config_dir_of(sys.argv[1:])))
        return 0
    command = hydra.main(version_base="1.3", config_path=str(FOLDER), config_name="config")(
        _run_one
    )
    for text in sys.argv[1:]:
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise ValueError(f"{text}: is no text in UTF-8; rename what it names")
    sys.argv[1:] = map(readable, renamed([own_folder(text) for text in sys.argv[1:]], _note))
    parser = get_args_parser()
    parser.error = errors.misused  # type: ignore[method-assign]
    given = parser.parse_args()
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        os.environ[errors.DEBUG] = "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, which are told below
    register()  # for --cfg job --resolve, too
    check_no_folders(given.overrides)
    check_choices(given.overrides, given.config_dir)
    nameless = [text for text in given.overrides if not key_of(text).strip()]
    if nameless:
        raise ValueError(f"{nameless[0]}: names no option; give option=value")
    try:
        return _command(command, given)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # Hydra's, of all kinds
        if errors.debugging() or isinstance(error, errors.Busy):
            raise
        from lifelong.configuration.mistakes import explain

        raise ValueError(explain(error, given.overrides, given.config_dir)) from None


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _command(command: Callable[[], Any], given: Namespace) -> int:
    """Runs Hydra's command; a sweep is planned first, and its points are looked at.

    Returns:
        0, or 1 if a run of the sweep failed. A single run ends the process with its own status.
    """
    made = None
    if given.multirun and not (given.cfg or given.info):
        made = plan(given.overrides, given.config_dir)
    if made is None:
        command()
        return 0
    check_folder(made.folder)
    if made.points:
        print(f"sweep in {errors.plain(str(made.folder))}: its runs are looked at", flush=True)
        from lifelong.configuration.mistakes import check

        try:
            check(made.points, given.config_dir)
        except ValueError as error:
            whole = made.searches and "give a whole number" in str(error)
            hint = "; of whole numbers a search draws by range(a,b)" if whole else ""
            raise ValueError(f"{error}{hint}") from None
    sys.argv += made.overrides()
    new = absent(made.folder)
    try:
        with cleared(new), held(made.folder), SweepMonitor(made) as watch:
            for place in (made.folder, made.folder / FAILURES):
                remove_leftovers(place, alone=True)
            command()
    except KeyboardInterrupt:  # while other processes ran
        return 128 + signal.SIGINT
    return 1 if watch.failed else 0


def _run_one(config: DictConfig) -> float | None:
    """One run, alone or of a sweep, where a failing one lets the others go on.

    Returns:
        Of a run of a sweep the final accuracy, which a search makes as large as it can; None of
        one that failed.
    """
    register()
    settings = HydraConfig.get()
    own = config_dir_of(sys.argv[1:])
    keys = [key_of(text) for text in _given(settings)]
    added = [key_of(text) for text in _given(settings) if text.startswith("+")]
    try:
        check_kinds(config, keys)
        note_choices(config, settings.runtime.choices, _given(settings))
        check_experiments(config, _given(settings), own)
        strategy, data = str(config.choices.strategy), str(config.choices.data)
        folder = None
        if settings.mode == RunMode.MULTIRUN:
            name = run_folder(settings.job.override_dirname)
            folder = Path(settings.sweep.dir) / name
            config.paths.output_dir = str(folder)
            config.resume = config.resume or "auto"
    except (ValueError, OmegaConfBaseException) as error:  # Hydra would say more than that
        print(f"error: {errors.reason(error)}", file=sys.stderr)
        sys.exit(2)
    given = [*([] if own is None else ["--config-dir", own]), *_given(settings)]
    if folder is None:
        sys.exit(execute(config, strategy, data, keys=keys, added=added, given=given))
    assign_gpu(settings)
    messages: list[str] = []
    status = execute(config, strategy, data, folder.parent, messages.append, keys, added, given)
    if status >= 128:
        sys.exit(status)
    note_failure(folder, "\n".join(messages) if status else None)
    if status:
        return None
    value = read_json(folder / "results.json", {"metrics"})["metrics"]["final_accuracy"]
    return None if value is None else float(value)


def _given(settings: HydraConf) -> list[str]:
    """The overrides of a run as they were written; they may refer to other options."""
    given: Any = settings.overrides.task
    return [str(text) for text in OmegaConf.to_container(given, resolve=False)]  # type: ignore[union-attr]


def execute(
    config: DictConfig,
    strategy: str,
    data: str,
    again: Path | None = None,
    failed: Callable[[str], None] = lambda message: None,
    keys: Sequence[str] = (),
    added: Sequence[str] = (),
    given: Sequence[str] = (),
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
        given: the command's arguments, for further processes of the run.

    Returns:
        The exit status, see `lifelong.errors`.
    """
    with _signals(_leave), ExitStack() as hold:
        try:
            here = hold.enter_context(together(config, given))
            session = hold.enter_context(prepared(config, strategy, data, keys, added, here))
        except Exception as error:  # what cannot be put together is the user's to mend
            if errors.debugging():
                raise
            if not os.environ.get("RANK", "0").strip("0"):  # one of several says it
                print(f"error: {errors.reason(error)}", file=sys.stderr)
            failed(errors.reason(error))
            return errors.status_of(error)
        with _signals(_stop):
            return _run_experiment(session, again or session.folder, failed)


def _run_experiment(session: Session, again: Path, failed: Callable[[str], None]) -> int:
    """Runs the experiment; whatever ends it, the results say so."""
    if session.experiment is None:
        return 0
    from lifelong.strategies.learner import Diverged

    terminal, folder = session.experiment.terminal, session.folder
    try:
        session.run(aloud=again == folder)  # a sweep tells at its end
    except Stopped as stopped:
        terminal.say(f"stopped; to go on: {_same_command(again)}")
        return 128 + int(stopped.args[0])
    except Exception as error:
        if errors.debugging():
            raise
        session.fail()
        text = str(error) if isinstance(error, Diverged) else errors.reason(error)
        if isinstance(errors.root(error), OSError):
            text += f"; to go on: {_same_command(again)}"
        elif not isinstance(error, Diverged):
            terminal.note(traceback.format_exc())
            text += f"; the traceback is in {folder / 'train.log'}"
        terminal.fail(f"failed: {text}")
        failed(text)
        return 1
    finally:
        session.close()
    return 0


def _same_command(folder: Path) -> str:
    """How to go on with what is in a folder, in words."""
    return f"the same command with resume=auto {shlex.quote(f'paths.output_dir={folder}')}"


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that ask for an end call `handler`, where signals can be handled at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    nohup = signal.getsignal(numbers[-1]) is signal.SIG_IGN  # asked to outlive its terminal
    heeded = numbers[:-1] if nohup else numbers
    before = {number: signal.signal(number, handler) for number in heeded}
    lost, sys.unraisablehook = sys.unraisablehook, _again(sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = lost
        for number, old in before.items():
            signal.signal(number, old)


def _again(otherwise: Callable[[Any], object]) -> Callable[[Any], object]:
    """Sends a signal once more that came where exceptions are lost, such as in a `__del__`."""

    def hook(unraisable: Any) -> None:
        stopped = unraisable.exc_value
        if isinstance(stopped, Stopped):  # not here, where it would be lost again
            threading.Timer(AGAIN, os.kill, (os.getpid(), stopped.args[0])).start()
        else:
            otherwise(unraisable)

    return hook


def _leave(number: int, frame: FrameType | None) -> None:
    """Before the run began there is nothing to save, and an import does not bear an exception."""
    print("stopped before the run began", file=sys.stderr, flush=True)
    os._exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


if __name__ == "__main__":
    from lifelong.run import main as command  # other processes find its functions by that name

    errors.program(command)
