"""The folder of a run: its name, whether it is free, what is in it."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from lifelong import errors
from lifelong.configuration.stored import differences, read_config
from lifelong.storage.files import read_json
from lifelong.storage.locks import LOCK, OURS

LONGEST = 72  # bytes of the name of a run's folder in a sweep, but for its digest
FAILURES = "failures"  # beside the runs of a sweep, why some failed
LONGEST_NAME = 255  # bytes of a name, of usual file systems


def run_folder(overrides: str) -> str:
    """A folder's name from the overrides of a run: short enough, and distinct all the same."""
    plain = re.sub(r"(?<=\w)/(?=\w)", "_", overrides).replace(",", "_")
    name = re.sub(r"[^\w.=+-]+", "_", plain) or "run"
    if len(name.encode()) > LONGEST or (overrides and name != plain):
        digest = hashlib.sha256(overrides.encode()).hexdigest()[:8]
        name = f"{name.encode()[:LONGEST].decode(errors='ignore')}_{digest}"
    return name


def check_run(folder: Path, option: str = "") -> None:
    """Refuses a folder that holds no run.

    Args:
        folder: that was given.
        option: by which, such as `resume=`.

    Raises:
        ValueError: no such folder, or none of a run; says where one is.
    """
    if (folder / "config.yaml").exists():
        return
    below = sorted(path.parent for path in folder.glob("*/config.yaml"))
    if below:
        why = f"holds {len(below)} run{'s'[: len(below) - 1]}; give one of them, such as {below[0]}"
    elif folder.exists():
        why = "holds no run (no config.yaml); give the folder of a run"
    else:
        why = "there is no such folder; give the folder of a run"
    raise ValueError(f"{option}{folder}: {why}")


def output_folder(config: DictConfig, strategy: str, data: str) -> Path:
    """The run's folder: the one to resume, the one that was asked for, or a new dated one.

    Raises:
        ValueError: none that a run can have.
    """
    if config.resume not in (None, "auto"):
        folder = Path(config.resume)
        check_run(folder, "resume=")
        asked = config.paths.output_dir
        if Path(asked or folder).expanduser().resolve() != folder.resolve():
            raise ValueError(
                f"paths.output_dir={asked}: a run goes on in its own folder, resume={folder}; "
                "leave either out"
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
    errors.check_named("paths.output_dir", given)
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
        results = read_json(folder / "results.json")
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
