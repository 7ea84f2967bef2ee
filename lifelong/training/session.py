"""A run from its composed configuration to its page, for the command line and for Python."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from lifelong import errors
from lifelong.configuration.complete import complete
from lifelong.configuration.folders import finished, holds_this_run, output_folder
from lifelong.configuration.keys import check_added, check_known, check_read
from lifelong.storage.locks import absent, cleared, held
from lifelong.training import machine
from lifelong.training.console import QUIET
from lifelong.training.processes import ALONE, Place, asked, copied, told, wait

if TYPE_CHECKING:
    from lifelong.training.experiment import Experiment


@dataclass
class Session:
    """A run that is ready to begin, or to go on.

    Attributes:
        folder: of the run.
        experiment: None where the folder holds this run, finished.
    """

    folder: Path
    experiment: Experiment | None

    def run(self, aloud: bool = True) -> None:
        """Runs the experiment, and writes its page.

        Args:
            aloud: print the closing table, too.
        """
        from lifelong.report.page import write_report
        from lifelong.training.loggers import log_final_artifacts
        from lifelong.training.terminal import closing_table

        if self.experiment is None:
            return
        experiment, folder = self.experiment, self.folder
        record, terminal, strategy = experiment.record, experiment.terminal, experiment.strategy
        experiment.run()
        record.write(folder, "running", strategy.method)
        write_report(folder, trust=True)
        for logger in experiment.loggers:
            log_final_artifacts(logger, folder)
        record.write(folder, "finished", strategy.method)
        terminal.say(closing_table(record), aloud=aloud)
        terminal.say(f"report: {folder / 'report.html'}", aloud=aloud)

    def fail(self) -> None:
        """Notes in the results that the run failed."""
        if self.experiment is not None:
            with suppress(Exception):  # which would hide what the run failed by
                method = self.experiment.strategy.method
                self.experiment.record.write(self.folder, "failed", method)

    def close(self) -> None:
        """Ends what shows and logs the run."""
        from lifelong.training.loggers import close

        if self.experiment is not None:
            self.experiment.terminal.close()
            for logger in self.experiment.loggers:
                with suppress(OSError):
                    close(logger, finished(self.folder))


@contextmanager
def prepared(
    config: DictConfig,
    strategy: str,
    data: str,
    keys: Sequence[str] = (),
    added: Sequence[str] = (),
    here: Place = ALONE,
) -> Iterator[Session]:
    """Within, the run's folder belongs to it alone.

    Args:
        config: composed; it is completed here.
        strategy: name of the method in the results.
        data: name of the stream in the results.
        keys: of the overrides that the user gave.
        added: those of them that the user gave with a plus.
        here: which of the run's processes this is.

    Raises:
        ValueError: options that do not fit each other, or a folder that is another run's. Nothing
            is left behind then.
    """
    begun = time.perf_counter()
    with warnings.catch_warnings(), ExitStack() as hold:
        warnings.filterwarnings("ignore", module="lightning")
        check_read(config, keys)
        check_added(config, added)
        check_known(config)
        complete(config)
        if asked(config) != here.size:
            raise ValueError(
                f"trainer.devices={config.trainer.devices}: from Python a run is one process; "
                "start it by `lifelong run`, or torchrun"
            )
        folder, resuming, done = _placed(config, strategy, data, here, hold)
        if done:
            _say(f"{folder} holds this run, finished. Its report: {folder / 'report.html'}")
            yield Session(folder, None)
            return
        number = machine.threads(config)
        headline = _headline(config, strategy, data, folder, number)
        _say(headline)
        importing = time.perf_counter()
        hold.enter_context(machine.threads_of(number))
        from lifelong.training.assembly import assemble

        begun += (imports := time.perf_counter() - importing)
        experiment = assemble(config, strategy, data, folder, resuming, headline, here)
        if not resuming:
            experiment.record.seconds["imports"] = imports
            experiment.record.seconds["setup"] = time.perf_counter() - begun
        yield Session(folder, experiment)


def _placed(
    config: DictConfig, strategy: str, data: str, here: Place, hold: ExitStack
) -> tuple[Path, bool, bool]:
    """The run's folder, whether it holds its beginning, and whether it is finished.

    Processes other than the first work on copies of their own.
    """
    if here.rank:
        found, resuming, done = told(None)
        folder = hold.enter_context(copied(Path(found)))
        config.paths.output_dir = str(folder)
        config.logger = {}
        wait()
        return folder, resuming, done
    given = config.paths.output_dir
    new = absent(Path(str(given or "outputs")))
    folder = output_folder(config, strategy, data)
    hold.enter_context(cleared([*([] if given or config.resume else [folder]), *new]))
    hold.enter_context(held(folder))
    config.paths.output_dir = str(folder)
    resuming = holds_this_run(folder, config)
    done = resuming and finished(folder)
    if here.size > 1:
        told((str(folder), resuming, done))
        wait()  # for the others' copies
    return folder, resuming, done


def _say(text: str) -> None:
    if QUIET not in os.environ:
        print(errors.plain(text), flush=True)


def _headline(config: DictConfig, strategy: str, data: str, folder: Path, threads: int) -> str:
    """What is going to run, on what, and where; all known before the slow imports."""
    many = "1 thread" if threads == 1 else f"{threads} threads"
    return (
        f"{config.name or strategy} on {data}, seed {config.seed}: {machine.device(config)}, "
        f"{many}, in {folder}"
    )
