"""Images that stay in a file give what images in memory give."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lifelong.data import Feed, TaskStream, folder, folders
from lifelong.data.normalisation import moments
from lifelong.data.sources import digits
from lifelong.data.sources import source as sources
from lifelong.data.splits import by_class
from lifelong.data.stored import StoredPixels
from lifelong.data.task import Images
from lifelong.finished import evaluate
from lifelong.parts.memory import Reservoir
from tests.conftest import execute, results_of
from tests.test_contract import Killed, die_at


def pictures(root: Path, classes: int = 4, each: int = 15) -> Path:
    generator = np.random.default_rng(0)
    for number in range(classes):
        (root / f"kind{number}").mkdir(parents=True)
        for image in range(each):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"kind{number}" / f"{image}.png")
    return root


def stream_of(tmp_path: Path, where: str, **options: object) -> TaskStream:
    root = tmp_path / "pictures"
    if not root.exists():
        pictures(root)
    return folder(
        str(root), shape=(3, 8, 8), data_dir=str(tmp_path), tasks=2, validation=0.2, batch_size=5,
        images_on=where, **options,
    )  # fmt: skip


def test_batches_are_those_of_images_in_memory(tmp_path: Path) -> None:
    here, there = stream_of(tmp_path, "auto"), stream_of(tmp_path, "disk")
    assert isinstance(there.tasks[0].train.x, StoredPixels)
    assert isinstance(here.tasks[0].train.x, torch.Tensor)
    for stream in (here, there):
        stream.to(torch.device("cpu"))
        for images in stream.images():
            images.augment = lambda x, generator: x + torch.rand(x.shape, generator=generator)
    for one, other in zip(here, there, strict=True):
        feeds = [{"old": Feed(visit.train, batch_size=3)} for visit in (one, other)]
        for stream, visit, beside in zip((here, there), (one, other), feeds, strict=True):
            stream.serve(visit, feeds=beside)
        for mine, theirs in zip(here.train_dataloader(), there.train_dataloader(), strict=True):
            assert all(map(torch.equal, mine.batch, theirs.batch))
            assert all(map(torch.equal, mine.feeds["old"], theirs.feeds["old"]))
        splits = [(visit.task.val, visit.task.test) for visit in (one, other)]
        loaders = [
            stream.loader(*parts) for stream, parts in zip((here, there), splits, strict=True)
        ]
        for mine, theirs in zip(*loaders, strict=True):
            assert all(map(torch.equal, mine, theirs))


def test_parts_and_joined_parts_are_still_in_the_file(tmp_path: Path) -> None:
    here, there = (stream_of(tmp_path, where).tasks for where in ("auto", "disk"))
    rows = torch.tensor([3, 0, 3])
    one, other = (
        Images.joined([tasks[1].train.part(rows), tasks[0].test]) for tasks in (here, there)
    )
    assert isinstance(other.x, StoredPixels)
    places = torch.tensor([4, 0, 2, 1])
    assert all(map(torch.equal, one[places], other[places]))
    mixed = Images.joined([here[0].train, there[1].train])
    assert isinstance(mixed.x, torch.Tensor)
    assert len(mixed) == len(here[0].train) + len(there[1].train)
    assert copy.deepcopy(other).x.files[0] is other.x.files[0]


def test_joined_parts_of_several_files(tmp_path: Path) -> None:
    roots = [str(pictures(tmp_path / name)) for name in ("first", "second")]
    parts = [
        folders(
            roots, data_dir=str(tmp_path), shape=(3, 8, 8), fraction=1.0, validation=0.0, seed=0,
            standardize="none", batch_size=5, images_on=where,
        ).tasks
        for where in ("auto", "disk")
    ]  # fmt: skip
    one, other = (Images.joined([task.train for task in tasks]) for tasks in parts)
    assert len(other.x.files) == 2
    every = torch.randperm(len(one))
    assert all(map(torch.equal, one[every], other[every]))


def test_statistics_are_those_of_all_pixels(tmp_path: Path) -> None:
    here, there = (stream_of(tmp_path, where).tasks[0].train.x for where in ("auto", "disk"))
    for one, other in zip(moments(here, 255.0), moments(there, 255.0), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_a_memory_holds_copies(tmp_path: Path) -> None:
    kept = []
    for where in ("auto", "disk"):
        stream, memory = stream_of(tmp_path, where, standardize="none"), Reservoir(8)
        for visit in stream:
            memory.begin_task(visit)
            torch.manual_seed(0)
            memory.add(visit.train[torch.arange(10)])
        kept.append(memory)
    for slots in (0, 3, 7):
        one, other = (memory.kept()[torch.tensor([slots])] for memory in kept)
        assert all(map(torch.equal, one, other))
    assert kept[0].nbytes == kept[1].nbytes


def test_checksums_tell_images_wherever_they_are(tmp_path: Path) -> None:
    one, same = stream_of(tmp_path, "disk"), stream_of(tmp_path, "host")
    assert one.checksum() == same.checksum()
    assert one.checksum() != stream_of(tmp_path, "disk", seed=1).checksum()


def test_large_sets_are_prepared_in_a_file_and_stay_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = stream_of(tmp_path, "auto")
    monkeypatch.setattr(sources, "memory", lambda: 1000)
    large = stream_of(tmp_path, "auto", fraction=0.9)  # the copy is there
    assert isinstance(large.tasks[0].train.x, StoredPixels)
    other = tmp_path / "other"
    other.mkdir()
    made = stream_of(other, "auto")  # and is made, image by image
    assert isinstance(made.tasks[0].train.x, StoredPixels)
    every = torch.arange(len(small.tasks[0].train))
    assert torch.equal(made.tasks[0].train[every].y, small.tasks[0].train[every].y)
    torch.testing.assert_close(made.tasks[0].train[every].x, small.tasks[0].train[every].x)
    assert [
        p for p in (other / ".cache").iterdir() if p.suffix not in (".json", ".npy", ".lock")
    ] == []


def test_refuses_the_disk_where_there_is_no_file() -> None:
    with pytest.raises(ValueError, match="images_on=disk: the images of digits are in no prepared"):
        by_class(digits(), tasks=5, images_on="disk")


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, "disk")
    file = next((tmp_path / ".cache").glob("*.npy"))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match="it was cut off since the start"):
        stream.tasks[1].train[torch.arange(10)]


def options_of(folder: Path, strategy: str, where: str) -> list[str]:
    if not (folder / "pictures").exists():
        pictures(folder / "pictures")
    return ["trainer=cpu", "batch_size=5", f"strategy={strategy}", "data=folder",
            f"data.root={folder / 'pictures'}",
            "data.tasks=2", "data.shape=[3,8,8]", f"paths.data_dir={folder}", "heads=multi",
            "data.standardize=none", "backbone=conv_small", "epochs=2", "lr=0.01",
            f"data.images_on={where}"]  # fmt: skip


@pytest.mark.parametrize("strategy", ["er", "joint", "lwf"])
def test_runs_have_the_same_numbers(tmp_path: Path, strategy: str) -> None:
    found = []
    for where in ("auto", "disk"):
        assert execute(tmp_path / where, *options_of(tmp_path, strategy, where)) == 0
        found.append(results_of(tmp_path / where))
    assert found[0]["accuracy"] == found[1]["accuracy"]


def test_a_run_goes_on_where_its_images_do_not_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`images_on=auto` goes by the machine's memory; a job may be given less of it."""
    options = [*options_of(tmp_path, "er", "auto"), "resume=auto"]
    assert execute(tmp_path / "whole", *options) == 0
    with monkeypatch.context() as patch:
        die_at(patch, 1)
        with pytest.raises(Killed):
            execute(tmp_path / "moved", *options)
    with monkeypatch.context() as patch:
        patch.setattr(sources, "memory", lambda: 1000)
        assert execute(tmp_path / "moved", *options) == 0
        assert results_of(tmp_path / "moved") == results_of(tmp_path / "whole")
        capsys.readouterr()
        assert evaluate.main([f"run={tmp_path / 'whole'}"]) == 0
        assert "note: the images" not in capsys.readouterr().out
    told = [*options_of(tmp_path, "er", "host"), f"resume={tmp_path / 'whole'}"]
    assert execute(tmp_path / "whole", *told) == 0  # it was finished: nothing else is said of it
