"""Images, folders and tasks of one's own: nothing is moved, dropped, scaled or shared unseen."""

from __future__ import annotations

import io
import os
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError
from torchvision.transforms import v2

from lifelong.data import TaskStream, by_class
from lifelong.data.sources.arrays import array_file, from_arrays
from lifelong.data.sources.decoding import known_formats, pixels
from lifelong.data.sources.tree import open_tree
from lifelong.data.transforms import Flip, Library
from tests.conftest import toy_task

DRAW = torch.Generator().manual_seed(1)


def drawn(folder: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("L", (4, 4)).save(folder / name)


def test_links_take_no_images_from_other_classes(tmp_path: Path) -> None:
    drawn(tmp_path / "cat" / "set1", ("1.png", "2.png"))
    drawn(tmp_path / "bird", ("3.png",))
    drawn(tmp_path / ".backup", ("4.png",))
    (tmp_path / ".backup" / "s").symlink_to(tmp_path / "cat" / "set1")
    found = open_tree(tmp_path)
    assert [str(path) for path in found.paths] == ["bird/3.png", "cat/set1/1.png", "cat/set1/2.png"]
    (tmp_path / "bird" / "extra").symlink_to(tmp_path / "cat" / "set1")
    with pytest.raises(ValueError, match=r"is the same file as bird/extra/1.png; an image belongs"):
        open_tree(tmp_path)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    drawn(tmp_path / "a", ("1.png",))
    drawn(tmp_path / "b", ("2.png",))
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert len(open_tree(tmp_path).paths) == 2


def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    drawn(tmp_path / "a", ("1.png",))
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(ValueError, match=r"caf.* is no name in UTF-8"):
        open_tree(tmp_path)


def floats() -> list[Any]:
    task = toy_task(0)
    for images in (task.train, task.val, task.test):
        images.x = torch.rand_like(images.x)
    return [task]


def served(stream: TaskStream) -> torch.Tensor:
    return (
        stream.visits[0]
        .train.get_batch(
            stream.visits[0].train.rows(torch.arange(4)), stream.visits[0].train.augment, DRAW
        )
        .x
    )


def test_transforms_of_libraries_know_what_white_is() -> None:
    still = [v2.RandomHorizontalFlip(p=0.0)]
    options = {"name": "toy", "batch_size": 4}
    with pytest.raises(ValueError, match=r"the images are torch.float32; give uint8, or .* unit=1"):
        TaskStream(floats(), train_transform=Library(still), **options)
    tasks = floats()
    plain = served(TaskStream(tasks, **options))
    same = served(TaskStream(tasks, train_transform=Library(still, unit=1), **options))
    torch.testing.assert_close(plain, same)
    x = torch.arange(192.0).view(1, 3, 8, 8)
    assert torch.equal(Library(still)(x, DRAW), x)
    with pytest.raises(ValueError, match=r"ToDtype made values up to 191 of images in \[0, 1\]"):
        Library([v2.ToDtype(torch.float32)])(x, DRAW)
    torch.testing.assert_close(Library([v2.ToDtype(torch.float32, scale=True)])(x, DRAW), x)


def test_streams_of_the_same_tasks_leave_each_other_alone() -> None:
    tasks = [toy_task(index) for index in range(3)]
    options = {"name": "toy", "batch_size": 4}
    one = TaskStream(tasks, train_transform=Flip(), **options)
    other = TaskStream(tasks, order_seed=1, **options)
    again = TaskStream(tasks, order_seed=2, **options)
    assert isinstance(one.tasks[0].train.augment, Flip)
    for stream in (one, other, again):
        for task in stream.tasks:
            assert task.train.t.unique().tolist() == [task.index]
    assert tasks[0].train.augment is None
    assert one.tasks[0].train.x is tasks[0].train.x  # no pixel is there twice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: {"y": images.y.int()}, r"labels of torch.int32; give torch.long"),
        (lambda images: {"y": images.y.bool()}, r"labels of torch.bool; give torch.long"),
        (lambda images: {"x": images.x.double()}, r"torch.float64; the first task's are"),
        (lambda images: {"x": images.x / 0.0}, r"pixels that are no numbers, or infinite"),
    ],
)
def test_tasks_of_other_kinds_are_refused(change: Any, message: str) -> None:
    first, second = toy_task(0), toy_task(1)
    for name, value in change(second.test).items():
        setattr(second.test, name, value)
    with pytest.raises(ValueError, match=rf"task 2: test has {message}"):
        TaskStream([first, replace(second)], name="toy", batch_size=4)


def tiff(bits: int, photometric: int, rows: bytes) -> bytes:
    """A grey image of 4 x 4, uncompressed."""
    tags = {256: 4, 257: 4, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 4}
    tags[279] = len(rows)
    place = 8 + len(rows)
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    head, table = struct.pack("<2sHI", b"II", 42, place), struct.pack("<H", len(tags))
    return head + rows + table + b"".join(entries) + b"\0" * 4


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (tiff(12, 1, b"\xff" * 24), 255),
        (tiff(12, 1, b"\x00" * 24), 0),
        (tiff(16, 1, b"\xff" * 32), 255),
        (tiff(16, 0, b"\x00" * 32), 255),
        (tiff(16, 0, b"\xff" * 32), 0),
    ],
)
def test_grey_of_more_bits_is_seen_as_it_is(content: bytes, shown: int) -> None:
    assert np.unique(pixels(content, (1, 4, 4), "a.tif")).tolist() == [shown]


def test_a_transparent_grey_of_16_bits_is_laid_on_white() -> None:
    made = io.BytesIO()
    image = Image.fromarray(np.array([[7, 0], [65535, 7]], np.uint16))
    image.save(made, format="PNG", transparency=7)
    found = pixels(made.getvalue(), (1, 2, 2), "a.png")
    assert found.tolist() == [[[255, 0], [255, 255]]]


def test_no_format_that_starts_a_program_is_opened() -> None:
    eps = io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n")
    with known_formats(), pytest.raises(UnidentifiedImageError):
        Image.open(eps)
    assert Image.open(eps).format == "EPS"  # elsewhere as before


def test_half_a_part_of_arrays_is_refused(tmp_path: Path) -> None:
    x, y = np.zeros((8, 4, 4), np.uint8), np.arange(8) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, targets_test=y)
    with pytest.raises(ValueError, match=r"has images for test and no y_test; give both"):
        array_file(tmp_path / "a.npz", shape=(1, 4, 4), cache=tmp_path)
    np.savez(tmp_path / "b.npz", X_train=x, Y_train=y, X_test=x, Y_test=y)
    found = array_file(tmp_path / "b.npz", shape=(1, 4, 4), cache=tmp_path)
    assert Counter(found.test_labels.tolist()) == {0: 4, 1: 4}
    with pytest.raises(ValueError, match="the labels are missing for some images"):
        from_arrays((x, np.array(["a", None] * 4, object)))


def test_numbers_that_are_no_names_are_told() -> None:
    x, y = np.zeros((120, 1, 4, 4), np.uint8), np.arange(120) % 12
    source = from_arrays((x, y), classes=sorted(map(str, range(12))))
    options = {"fraction": 1.0, "validation": 0.0, "standardize": "none", "seed": 0}
    for classes, note in (
        ([[0, 1], [3, 4]], "so that 3 is the class called 11"), ([["3", "11"]], ""), (None, ""),
    ):  # fmt: skip
        given = {"classes": classes} if classes else {"tasks": 3}
        stream = by_class(source, name="toy", batch_size=2, **given, **options)
        assert note in stream.note
        assert bool(note) == bool(stream.note)
