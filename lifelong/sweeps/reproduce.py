"""Rows of a paper's tables, run over seeds and put beside what was published.

`lifelong reproduce tag/cifar100_er seeds=1,2,3 [out=outputs/reproduced] [OVERRIDE ...]` runs
`experiment=tag/cifar100_er` with each seed, goes on with what an earlier call left, and compares:
our mean and deviation, the paper's, their difference, and whether it is within the tolerance that
both deviations give. Several rows may be given, also by pattern (`'tag/cifar100_*'`). With
hours=0.5 the runs that are not done by then are stopped; the same call goes on. cores=2 runs two at
a time. config_dir=DIR has rows of one's own: its files `experiment/<row>.yaml`, which may say what
is `published`. The verdicts go into a ledger, ledger=FILE, by default ledger.csv in the folder
`out`; runs on other seeds join those that it has. Beside it, curves.csv (of FILE.csv
FILE_curves.csv) says how accuracy went.

`lifelong reproduce --todo [ROW ...]` lists what of the published tables the ledger does not have,
by the figures that an hour of a core gives: by the times that the ledger has of the row, or of
others of its stream. With hours=2 cores=2 it is run in that order until the time is up. seeds=
are those wanted, 1 to 5 by default.

A row that fails or is refused is passed over and told, and so are all of a stream whose images are
not here; the exit status is 1 if one failed, 2 if all were refused.

`lifelong reproduce from=FOLDER,FOLDER ledger=FILE` runs nothing, and takes the runs of rows below
some folders into a ledger; of those that are not finished, what a whole run would take.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lifelong.comparison import curves
from lifelong.comparison.begun import begun
from lifelong.comparison.ledger import Line, lines, of_rows, published_figures, record, told
from lifelong.comparison.ledger import read as read_ledger
from lifelong.comparison.runs import ORDERS, many, read
from lifelong.configuration import tables
from lifelong.configuration.arguments import Argument, parse
from lifelong.configuration.compose import FOLDER, composed
from lifelong.configuration.members import members
from lifelong.configuration.mistakes import near
from lifelong.configuration.overrides import key_of
from lifelong.configuration.plain import as_dict
from lifelong.configuration.stored import SEEDS
from lifelong.errors import Busy, Missing, command, plain, reason
from lifelong.storage.files import check_writable
from lifelong.storage.locks import in_turn
from lifelong.sweeps.jobs import Job, run_jobs
from lifelong.sweeps.todo import Agenda, Open, stream_of, table, todo

OPTIONS = {
    "seeds": Argument("of the runs; 1 by default, 1 to 5 with --todo", many=True),
    "hours": Argument("after which runs are stopped, to be gone on with"),
    "cores": Argument("runs at a time, of a thread each", "1", number=True),
    "out": Argument("folder of the runs", "outputs/reproduced", folder=True),
    "ledger": Argument(
        "file of the verdicts; by default ledger.csv in the folder of the runs", folder=True
    ),
    "from": Argument("folders with runs: nothing is run", many=True, folder=True),
    "config_dir": Argument("a folder of members of one's own", folder=True),
}
TODO = "--todo"
REFUSED = (2, Missing.status)  # exit statuses of a run: a mistake in what was given
KILLED = 128  # or more: by a signal
WANTED = ["1", "2", "3", "4", "5"]  # seeds


def main(arguments: Sequence[str]) -> int:
    """Runs and compares; gives the exit status."""
    return command(lambda: _reproduced(arguments))


def _reproduced(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    asked = [text for text in arguments if text != TODO]
    own = [text for text in asked if text.partition("=")[0] in OPTIONS or "=" not in text]
    overrides = tuple(text for text in asked if text not in own)
    given = parse(own, OPTIONS)
    out = Path(given["out"])
    ledger, home = Path(given["ledger"] or out / "ledger.csv"), given["config_dir"]
    rows = _named(given[""], home)
    if given["from"]:
        _check_alone(arguments)
        return _recorded([Path(text) for text in given["from"]], ledger, home)
    if TODO not in arguments and not rows:
        raise ValueError(
            "ROW: give one or more, such as tag/cifar100_er, or from=FOLDER, or --todo; --help"
        )
    known, until = _readable(ledger), time.monotonic() + _seconds(given["hours"])
    runs, seeds = _Runs(out, ledger, overrides, home), _seeds(given["seeds"] or WANTED)
    if TODO not in arguments:
        return runs.of(rows, seeds if given["seeds"] else seeds[:1], given["cores"], until)
    left = _open(rows, known, seeds, _device(overrides), home)
    if given["hours"] is None:
        print(table(left))
        return 0
    return runs.all_of(Agenda(left), given["cores"], until)


def _open(
    rows: Sequence[str], known: list[Line], seeds: list[int], device: str, home: str | None
) -> list[Open]:
    """What is left of some rows, or of all; says of which nothing is published."""
    cells = _configs(rows, home)
    for row in rows:
        if not published_figures(cells.get(row, {}).get("published")):
            print(plain(f"{row}: of it nothing is published; lifelong reproduce {row} runs it"))
    return todo(cells, known, seeds, device)


def _configs(rows: Sequence[str], home: str | None) -> dict[str, dict[str, Any]]:
    """The configurations of rows, or of all, as far as they may have published figures.

    Of one's own rows, which may stand on others, what `lifelong.sweeps.todo` asks for; one that
    cannot be composed says so when it is run.
    """
    found = {row: cell["config"] for row, cell in tables.rows(FOLDER / "tables").items()}
    own = {*members("experiment", home)} - {*members("experiment")} if home else set[str]()
    for row in own & {*rows} if rows else own:
        with suppress(HydraException, OmegaConfBaseException, YAMLError, ValueError):
            config = as_dict(composed([f"experiment={row}"], home))
            chosen = [{f"override /{key}": name} for key, name in config["choices"].items()]
            told = {key: config.get(key) or {} for key in ("published", "protocol")}
            found[row] = {"defaults": chosen, "epochs": config["epochs"], **told}
    return {row: config for row, config in found.items() if not rows or row in rows}


def _readable(ledger: Path) -> list[Line]:
    """The lines of a ledger; what cannot be read is refused before hours of work."""
    with _alone(ledger):
        curves.read(curves.beside(ledger))
        return read_ledger(ledger)


def _named(given: Sequence[str], home: str | None) -> list[str]:
    """The rows that names and patterns stand for.

    Raises:
        ValueError: of one there is no row, or no such folder.
    """
    if home is not None and not Path(home).is_dir():
        raise ValueError(f"config_dir={home}: is no folder")
    known, found = members("experiment", home), list[str]()
    for text in given:
        meant = [row for row in known if row == text or fnmatchcase(row, text)]
        if not meant:
            how = near(text, known) or (
                "; lifelong list experiments names them, config_dir=DIR has those of one's own"
            )
            raise ValueError(f"{text}: there is no such row{how}")
        found += meant
    return list(dict.fromkeys(found))


def _seconds(hours: str | None) -> float:
    try:
        found = float("inf" if hours is None else hours)
    except ValueError:
        found = 0.0
    if not found > 0:
        raise ValueError(f"hours={hours}: give a number of hours above 0, such as 0.5")
    return 3600 * found


def _seeds(given: Sequence[str]) -> list[int]:
    wrong = [text for text in given if not text.isdecimal()]
    if wrong:
        raise ValueError(f"seeds={','.join(given)}: give whole numbers, such as seeds=1,2,3")
    return list(dict.fromkeys(map(int, given)))


def _device(overrides: Sequence[str]) -> str:
    on_gpu = {"trainer=gpu", "trainer.accelerator=gpu", "trainer.accelerator=cuda"}
    return "gpu" if on_gpu & set(overrides) else "cpu"


def _check_alone(arguments: Sequence[str]) -> None:
    """Refuses beside `from=` what is for runs."""
    used = ("from", "ledger", "out", "config_dir")
    idle = [each for each in arguments if each.partition("=")[0] not in used]
    if idle:
        raise ValueError(f"{idle[0]}: has no effect beside from=, which runs nothing")


class _Runs:
    """Runs rows, and takes each into the ledger as it ends.

    Args:
        out: folder of the runs.
        ledger: of the verdicts.
        overrides: of all rows.
        home: folder of a person's own members.
    """

    def __init__(
        self, out: Path, ledger: Path, overrides: tuple[str, ...], home: str | None
    ) -> None:
        how = {"paths.output_dir": "give out=", "experiment": "give the name of the row"}
        free = {*SEEDS} - {*ORDERS}  # a stream's order is a part of what a row is
        how |= dict.fromkeys(free, "the seeds of a row follow from its seed; give seeds=")
        taken = [text for text in overrides if key_of(text) in how]
        if taken:
            raise ValueError(f"{taken[0]}: {how[key_of(taken[0])]}")
        self.out, self.ledger, self.overrides, self.home = out, ledger, overrides, home
        self.tell = True  # each run's verdict as it ends

    def _job(self, row: str, seed: int) -> Job:
        return Job(row, seed, self.out, self.overrides, self.home)

    def of(self, rows: Sequence[str], seeds: Sequence[int], cores: int, until: float) -> int:
        """Runs rows one after the other, and compares all at the end."""
        cells = _configs(rows, self.home)
        streams = {row: stream_of(cells[row]) for row in rows if row in cells}
        wanted = [Open(row, streams.get(row, row), 0, 0, list(seeds)) for row in rows]
        self.tell = len(rows) * len(seeds) > 1  # of one the end tells it
        status = self.all_of(Agenda(wanted, by_value=False), cores, until)
        done = {row for row in rows if any(self._job(row, seed).done for seed in seeds)}
        if status >= KILLED or not done:
            return status
        folders = [self.out / row for row in rows if row in done]
        from lifelong.comparison.compare import main as compare

        compared = compare([*map(str, folders), f"out={self.out}", "against=paper"])
        return status or compared or _recorded(folders, self.ledger, self.home)

    def all_of(self, agenda: Agenda, cores: int, until: float) -> int:
        """Runs what is left until the time is up.

        A row that fails or is refused is passed over; where images are missing, its stream is;
        where a run is refused that an earlier call began, or that another works on, that seed
        alone.

        Returns:
            The exit status: 1 where a run failed, 2 where all were refused.
        """
        check_writable(self.ledger)
        chosen, statuses, stopped = dict[Job, Open](), set[int](), list[Job]()

        def next_job(left: float) -> Job | None:
            while (found := agenda.next(left)) is not None:
                job = self._job(found[0].row, found[1])
                if job.done:
                    statuses.add(0)
                    self._record(job)
                    continue
                chosen[job] = found[0]
                print(plain(f"{job.row}, seed {job.seed}: begins"), flush=True)
                return job
            return None

        def ended(job: Job, status: int | None) -> bool:
            if status is None:
                stopped.append(job)
            if status == 0 and not job.done:
                status = 1  # of whose results nothing is where they belong
            statuses.add(self._told(job, status or 0, agenda, chosen[job]))
            return not status or status < KILLED

        status = run_jobs(next_job, ended, cores, until)
        later = [self._job(row.row, seed) for row in agenda.rows for seed in row.left]
        left = len(stopped) + sum(not job.done for job in later)
        if left and not status:
            print(f"the time is up, {many(left, 'run')} left; the same command goes on", flush=True)
        some = 1 if 1 in statuses else 0
        return status or (2 if statuses and statuses <= {*REFUSED} else some)

    def _told(self, job: Job, status: int, agenda: Agenda, row: Open) -> int:
        """Takes in a run that ended, or says what became of it; gives what that means for all."""
        seed = f"{job.row}, seed {job.seed}"
        if status == 0:
            self._record(job)
        elif status == Busy.status:
            print(plain(f"{seed}: another command is at work on it, passed over"), flush=True)
            return 0
        elif status == 2 and job.begun:
            again = f"to begin it anew, remove {job.folder}"
            print(plain(f"{seed}: refused, passed over; {again}"), flush=True)
            return 1
        elif status < KILLED:
            gone = agenda.drop(row, stream=status == Missing.status)
            more = f"; so are {len(gone)} more of its stream" if gone else ""
            how = "refused" if status in REFUSED else "failed"
            print(plain(f"{job.row}: {how}, passed over{more}"), flush=True)
        return status

    def _record(self, job: Job) -> None:
        if not (job.folder / "environment.json").exists():
            return  # stopped before it began
        try:
            found, _ = _taken([job.folder], self.ledger, self.home)
        except (OSError, ValueError) as error:  # other runs go on
            later = f"lifelong reproduce from={job.folder} does it later"
            print(plain(f"{job.row}: not taken in ({reason(error)}); {later}"), flush=True)
            return
        for line in found if self.tell else ():
            print(plain(told(line)), flush=True)


def _alone(ledger: Path) -> AbstractContextManager[None]:
    """Within, no other call changes the ledger."""
    return in_turn(ledger.with_name(f".{ledger.name}.lock"), lambda who: None)


def _taken(
    folders: Sequence[Path], ledger: Path, home: str | None
) -> tuple[list[Line], dict[Path, str]]:
    """Takes runs into a ledger; gives their lines there, and what of the runs is damaged."""
    runs, unfinished, damaged = read(folders)
    groups = of_rows(runs, damaged)
    with _alone(ledger):
        made = [*begun(unfinished, damaged), *lines(groups)]
        found = record(ledger, made, lambda text: print(plain(text)), home)
        curves.record(curves.beside(ledger), curves.curves(groups), read_ledger(ledger))
    return found, damaged


def _recorded(folders: Sequence[Path], ledger: Path, home: str | None) -> int:
    """Takes runs into a ledger, and tells the verdicts."""
    found, damaged = _taken(folders, ledger, home)
    if not found:
        raise ValueError(f"{folders[0]}: holds no run of a row")
    for line in found:
        print(plain(told(line)))
    for why in damaged.values():
        print(plain(f"left out: {why}"))
    print(f"written: {ledger}")
    return 0
