"""A folder or zip file of images as a data set; trees are written after docs/images.md alone."""

from __future__ import annotations

import os
import random
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lifelong.data import folder
from lifelong.data.sources import image_folder
from tests.data.painted import paint, painted
from tests.data.sources.trees import png, read, tree, write


def test_aspect_ratios_are_kept_by_cutting(tmp_path: Path) -> None:
    path = tmp_path / "wide" / "a" / "0.png"
    path.parent.mkdir(parents=True)
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 10:30] = 200  # the middle square
    for number in range(5):
        Image.fromarray(picture).save(path.with_name(f"{number}.png"))
    cut = image_folder(tmp_path / "wide", shape=(3, 10, 10), cache=tmp_path, crop=True)
    assert (cut.train_images[..., 1:-1] == 200).all()
    assert cut.train_images.min() > 150  # where the filter reaches beyond the cut
    whole = image_folder(tmp_path / "wide", shape=(3, 10, 10), cache=tmp_path)
    assert not whole.train_images[..., 0].any()


def test_parts_given(tmp_path: Path) -> None:
    source = image_folder(painted(tmp_path / "mine"), shape=(3, 8, 8), cache=tmp_path)
    assert source.classes == ("class 0", "class 1", "class 2", "class 3")
    assert len(source.train_images) == len(source.test_images) == 40
    assert np.array_equal(source.train_images[:, 0, 0, 0] // 50, source.train_labels)
    assert not source.train_images[:, 2].any()


def test_parts_divided_evenly(tmp_path: Path) -> None:
    source = image_folder(
        painted(tmp_path / "mine", ("",)), shape=(3, 8, 8), cache=tmp_path, test=0.2
    )
    assert np.bincount(source.train_labels).tolist() == [8] * 4
    assert np.bincount(source.test_labels).tolist() == [2] * 4


@pytest.mark.parametrize("line", [
    "{0},3", "{0}\t3", "{0};3", "{1}/{0} 3", "{0} 3", "./{0}", '"{0}",3',
])  # fmt: skip
def test_lists_of_test_images_as_others_write_them(tmp_path: Path, line: str) -> None:
    root = painted(tmp_path / "mine", ("",))
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))[::4]
    lines = [line.format(file, root) for file in files]
    (tmp_path / "test.csv").write_text("\n".join(lines), "utf-8-sig")
    source = image_folder(root, shape=(3, 8, 8), cache=tmp_path, test=str(tmp_path / "test.csv"))
    assert len(source.test_images) == len(files)


def test_a_prepared_copy_inside_the_folder_is_found_again(tmp_path: Path) -> None:
    root = painted(tmp_path / "mine", ("",))
    for _ in range(2):
        image_folder(root, shape=(3, 8, 8), cache=root)
    assert len(list((root / ".cache").glob("*.npy"))) == 1


def test_grey_and_resized(tmp_path: Path) -> None:
    source = image_folder(painted(tmp_path / "mine"), shape=(1, 4, 6), cache=tmp_path)
    assert source.shape == (1, 4, 6)


def test_zip_with_a_folder_around(tmp_path: Path) -> None:
    root = painted(tmp_path / "mine")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in root.rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    one = image_folder(root, shape=(3, 8, 8), cache=tmp_path)
    other = image_folder(tmp_path / "mine.zip", shape=(3, 8, 8), cache=tmp_path)
    assert np.array_equal(one.train_images, other.train_images)
    assert np.array_equal(one.test_labels, other.test_labels)


def test_a_changed_folder_is_read_anew(tmp_path: Path) -> None:
    root = painted(tmp_path / "mine")
    assert len(image_folder(root, shape=(3, 8, 8), cache=tmp_path).train_labels) == 40
    paint(root / "train" / "class 3" / "more.png", 1)
    assert len(image_folder(root, shape=(3, 8, 8), cache=tmp_path).train_labels) == 41


JUNK = [
    ".DS_Store", "._000.png", ".ipynb_checkpoints/000-checkpoint.png", ".thumbnails/1.png",
    "Thumbs.db", "desktop.ini", "@eaDir/000.png@SynoEAStream", "@eaDir/x.png", "__MACOSX/._a.png",
    "~$notes.docx", "labels.csv", "README.md", "#recycle/old.png", "$RECYCLE.BIN/old.jpg",
    "lost+found/a.png", "notes.txt", ".git/x.png", "System Volume Information/a.bmp",
]  # fmt: skip


def counts(labels: Any, classes: tuple[str, ...]) -> Counter[str]:
    return Counter(classes[label] for label in labels)


PARTS = {
    "train": ["train", "Train", "training"],
    "val": ["val", "valid", "validation", "VAL"],
    "test": ["test", "Testing"],
}


Wanted = dict[str, Counter[str]]  # images of each class by part, "" for a folder without parts


def grown(root: Path, draw: random.Random) -> Wanted:
    """Makes a tree of images and of what programs leave; gives what is in it."""
    parts = {"": ""}
    if draw.random() < 0.7:
        kinds = ["train", *draw.sample(["val", "test"], draw.randint(0, 2))]
        parts = {kind: draw.choice(PARTS[kind]) for kind in kinds}
    classes = draw.sample(["cat", "Dog", "a b", "été", "x[1]", "10%", "e.x"], draw.randint(1, 4))
    wanted: Wanted = {kind: Counter() for kind in parts}
    for kind, label in ((kind, label) for kind in parts for label in classes):
        for row in range(draw.randint(5, 8)):
            inner = draw.choice(["", "", "session 1/", "a/b/"])
            file = f"{inner}{row:03d}{draw.choice(['.png', '.PNG'])}"
            write(root / parts[kind] / label / file, png(draw.randint(0, 255)))
            wanted[kind][label] += 1
    places = [root, *(root / name for name in parts.values())]
    places += [root / name / label for name in parts.values() for label in classes]
    for _ in range(draw.randint(0, 6)):
        write(draw.choice(places) / draw.choice(JUNK), b"junk")
    return wanted


def zipped(root: Path) -> Path:
    path = root.with_name(f"{root.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(root.parent))
    return path


def divided(wanted: Wanted) -> Wanted:
    """Without a test part a fifth of each class, rounded down, is for testing."""
    if "test" in wanted:
        return wanted
    whole = wanted.get("train", wanted.get("", Counter()))
    tested = Counter({label: int(0.2 * count) for label, count in whole.items()})
    return wanted | {"train": whole - tested, "test": tested}


@pytest.mark.parametrize("seed", range(0, 500, 50))
def test_trees_are_read_as_the_page_says(seed: int, tmp_path: Path) -> None:
    """Fifty trees each: parts or none, nested folders, what programs leave, as folder or zip."""
    for number in range(seed, seed + 50):
        draw = random.Random(number)
        root = tmp_path / f"tree {number}"
        wanted = divided(grown(root, draw))
        source = read(zipped(root) if draw.random() < 0.4 else root, tmp_path / "cache")
        assert source.classes == tuple(sorted(wanted["train"])), number
        for kind in ("train", "val", "test"):
            found = counts(getattr(source, f"{kind}_labels"), source.classes)
            assert found == wanted.get(kind, Counter()), (number, kind)


def test_a_note_tells_what_was_passed_over(tmp_path: Path) -> None:
    root = tree(tmp_path / "mine")
    write(root / "train" / "a" / "._0.png", b"junk")
    write(root / "train" / "Thumbs.db", b"junk")
    write(root / "more" / "x.png", png(1))
    note = read(root, tmp_path).note
    assert note == ("3 files passed over: 1 hidden, 1 in folders beside the parts, 1 of the system")
    assert read(root, tmp_path).note == note  # also from the prepared copy
    stream = folder(
        str(root), shape=[3, 4, 4], data_dir=str(tmp_path), name="mine", batch_size=2, tasks=1
    )
    assert stream.note == note


def test_validation_images_stay_such(tmp_path: Path) -> None:
    root = tree(tmp_path / "mine", parts=("train", "valid", "test"))
    stream = folder(
        str(root), shape=[3, 4, 4], data_dir=str(tmp_path), name="mine", batch_size=2, tasks=1
    )
    (task,) = stream.tasks
    assert [len(task.train), len(task.val), len(task.test)] == [12, 12, 12]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: write(r / "train" / "c" / "1.png", png(1)), "class 'c' has no images in test"),
        (lambda r: write(r / "test" / "c" / "1.png", png(1)), "class 'c' has no images in train"),
        (lambda r: write(r / "train" / "loose.png", png(1)), "train/loose.png lies in no class"),
        (lambda r: write(r / "Train" / "a" / "9.png", png(1)), "class 'a' is there twice"),
        (lambda r: (r / "train" / "b" / "n.png").symlink_to("nowhere.png"), "b/n.png: cannot be"),
        (lambda r: os.link(r / "train/a/0.png", r / "train/b/7.png"), "is the same file as"),
        (
            lambda r: write(r / "test" / "b" / "e.png", b""),
            "b/e.png is not a readable image .empty",
        ),
        (lambda r: write(r / "test" / "b" / "e.png", b"<html>"), "e.png is not a readable .* kind"),
        (lambda r: write(r / "test" / "b" / "e.png", png(9)[:40]), "e.png is not a readable image"),
    ],
)
def test_what_is_not_clear_is_refused_by_name(tmp_path: Path, change: Any, message: str) -> None:
    root = tree(tmp_path / "mine")
    change(root)
    with pytest.raises(ValueError, match=message) as caught:
        read(root, tmp_path)
    assert "0x" not in str(caught.value)  # no address of an object
