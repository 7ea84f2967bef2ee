"""One flipped bit in a file that is read: refused by name, made anew, or without meaning."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from PIL import Image

from lifelong.comparison.runs import read as read_runs
from lifelong.data.sources import image_folder
from lifelong.data.sources.archive import read_archive
from lifelong.finished import export
from lifelong.parts.ticket import load_ticket
from lifelong.storage.checkpoint import latest, read
from lifelong.storage.files import read_json
from lifelong.sweeps.study import STUDY, study_in
from tests.conftest import execute
from tests.faults.conftest import Tally
from tests.faults.test_trust import flat, flipped, prepared
from tests.test_contract import FAST, chosen

SMALL = [*FAST, "tasks=2", "epochs=1"]


@dataclass
class Known:
    """A file, and what is read of it.

    Attributes:
        path: of the file.
        content: what it says, as something that can be compared.
    """

    path: Path
    content: Callable[[], Any]


def checkpoint(folder: Path) -> Known:
    assert execute(folder / "run", *SMALL, "strategy=ewc") == 0
    path = folder / "run" / "visit_02.ckpt"
    return Known(path, lambda: str(flat(vars(read(path)))))


def history(folder: Path) -> Known:
    assert execute(folder / "run", *SMALL, "strategy=finetune", "optimizer=tag_rmsprop") == 0
    path = folder / "run" / "history_01.part"

    def content() -> Any:
        saved, _ = latest(folder / "run")
        assert saved is not None
        return str(flat(saved.optimizer))

    return Known(path, content)


def ticket(folder: Path) -> Known:
    assert execute(folder / "run", *SMALL, *chosen("tickets_bu")) == 0
    path = folder / "a.ticket"
    assert export.main(["ticket=true", str(folder / "run"), str(path)]) == 0
    return Known(path, lambda: str(flat(vars(load_ticket(path)))))


def state(folder: Path) -> Known:
    path = folder / "weights.pth"
    torch.save({"a": torch.randn(30, 40), "b": torch.randn(7)}, path)
    from lifelong.parts.state_files import read_state

    return Known(path, lambda: str(flat(dict(read_state(path)))))


def results(folder: Path) -> Known:
    assert execute(folder / "run", *SMALL, "strategy=finetune") == 0
    return Known(folder / "run" / "results.json", lambda: of_study(folder))


def config(folder: Path) -> Known:
    assert execute(folder / "run", *SMALL, "strategy=finetune") == 0
    return Known(folder / "run" / "config.yaml", lambda: of_study(folder))


def environment(folder: Path) -> Known:
    assert execute(folder / "run", *SMALL, "strategy=finetune") == 0
    path = folder / "run" / "environment.json"
    return Known(path, lambda: str(read_json(path)))


def of_study(folder: Path) -> Any:
    """What tables take of the run in a folder.

    Raises:
        ValueError: why it is left out of them.
    """
    runs, unfinished, damaged = read_runs([folder])
    if damaged or unfinished:
        raise ValueError(f"{folder}: {damaged} {unfinished}")
    (run,) = runs
    return str((run.results, run.options))


def copy_index(folder: Path) -> Known:
    prepared(folder)
    (path,) = (folder / ".cache").glob("*.json")
    return Known(path, lambda: of_copy(folder))


def copy_images(folder: Path) -> Known:
    prepared(folder)
    (path,) = (folder / ".cache").glob("*.npy")
    return Known(path, lambda: of_copy(folder))


def of_copy(folder: Path) -> Any:
    found, _ = prepared(folder)
    return found.classes, found.train_labels.tolist(), np.asarray(found.train_images).tolist()


def journal(folder: Path) -> Known:
    """The last line may go: it is cut off where it is not whole, as after a kill."""
    made = study_in(folder)
    for number in range(4):
        trial = made.ask({"lr": optuna.distributions.FloatDistribution(0, 1)})
        made.tell(trial, number / 8)
    path = folder / STUDY
    whole = path.read_bytes()

    def content() -> Any:
        now = study_in(folder).trials
        if path.read_bytes() == whole[: whole.rfind(b"\n", 0, -1) + 1]:
            path.write_bytes(whole)
            now = study_in(folder).trials
        return [(trial.params, trial.values) for trial in now]

    return Known(path, content)


def tar(folder: Path) -> Known:
    draw = random.Random(0)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name in ("inside/a", "inside/b"):
            entry = tarfile.TarInfo(name)
            entry.size = 3000
            archive.addfile(entry, io.BytesIO(draw.randbytes(3000)))
    path = folder / "x.tar.gz"
    path.write_bytes(gzip.compress(plain.getvalue()))
    return Known(path, lambda: read_archive(path, "inside", lambda file: (file("a"), file("b"))))


def zipped(folder: Path) -> Known:
    draw = random.Random(0)
    path = folder / "mine.zip"
    with zipfile.ZipFile(path, "w") as file:
        for part in ("train", "test"):
            for number in range(8):
                image = Image.frombytes("RGB", (4, 4), draw.randbytes(48))
                content = io.BytesIO()
                image.save(content, "PNG")
                file.writestr(f"{part}/c{number % 2}/{number}.png", content.getvalue())

    def content() -> Any:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        found = image_folder(path, shape=(3, 4, 4), cache=folder / "cache")
        return found.classes, found.train_labels.tolist(), np.asarray(found.train_images).tolist()

    return Known(path, content)


FILES: dict[Callable[[Path], Known], int] = {
    checkpoint: 250, history: 100, ticket: 100, state: 60, results: 120, config: 120,
    environment: 40,
    copy_index: 80, copy_images: 80, journal: 100, tar: 60, zipped: 60,
}  # fmt: skip


def test_there_are_a_thousand() -> None:
    assert sum(FILES.values()) >= 1000


@pytest.mark.faults
@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.__name__)
def test_no_flipped_bit_is_believed(
    kind: Callable[[Path], Known], tmp_path: Path, tally: Tally
) -> None:
    known = kind(tmp_path)
    whole, expected = known.path.read_bytes(), known.content()
    draw = random.Random(kind.__name__)
    believed, refused = [], 0
    for number in range(FILES[kind]):
        known.path.write_bytes(flipped(whole, draw))
        try:
            if known.content() != expected:
                believed.append(number)
        except ValueError as error:
            refused += 1
            if known.path.name not in str(error):
                believed.append(number)
        known.path.write_bytes(whole)
    tally("bits", FILES[kind], len(believed))
    assert not believed
    if kind not in (copy_index, copy_images):  # which are made anew
        assert refused
