"""What a person's folder of images holds beside images, and how images are read.

The reading of names here is written after docs/images.md alone.
"""

from __future__ import annotations

import io
import os
import random
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lifelong.data import folder
from lifelong.data.sources import archive, image_folder
from lifelong.data.sources.decoding import pixels
from lifelong.data.sources.source import Source

JUNK = [
    ".DS_Store", "._000.png", ".ipynb_checkpoints/000-checkpoint.png", ".thumbnails/1.png",
    "Thumbs.db", "desktop.ini", "@eaDir/000.png@SynoEAStream", "@eaDir/x.png", "__MACOSX/._a.png",
    "~$notes.docx", "labels.csv", "README.md", "#recycle/old.png", "$RECYCLE.BIN/old.jpg",
    "lost+found/a.png", "notes.txt", ".git/x.png", "System Volume Information/a.bmp",
]  # fmt: skip


def png(grey: int, size: tuple[int, int] = (4, 4)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(content, "PNG")
    return content.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def read(root: Path, cache: Path, **options: Any) -> Source:
    return image_folder(root, shape=(3, 4, 4), cache=cache, **options)


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


def tree(root: Path, classes: tuple[str, ...] = ("a", "b"), parts: Any = ("train", "test")) -> Path:
    for part in parts:
        for label in classes:
            for row in range(6):
                write(root / part / label / f"{row}.png", png(10 * row))
    return root


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


@pytest.mark.parametrize(
    ("closed", "read_all"),
    [("lost+found", True), ("System Volume Information", True), (".Trash-0", True), ("b", False)],
)
def test_folders_that_a_system_keeps_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str, read_all: bool
) -> None:
    """At the root of a disk some folders are closed to all but the system."""
    root, scan = tree(tmp_path / "mine"), os.scandir
    place = root / "train" / closed
    place.mkdir(exist_ok=True)

    def scandir(path: Any) -> Any:
        if str(path) == str(place):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    if read_all:
        assert len(read(root, tmp_path).train_labels) == 12
    else:
        with pytest.raises(ValueError, match=r"train/b: cannot be read \(Permission denied\)"):
            read(root, tmp_path)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path / "store")
    root = tmp_path / "mine"
    root.mkdir()
    for part in ("train", "test"):
        (root / part).symlink_to(tmp_path / "store" / part)
    (tmp_path / "store" / "train" / "a" / "again").symlink_to(tmp_path / "store")
    assert len(read(root, tmp_path).train_labels) == 12


def test_one_letter_in_two_spellings_is_one_class(tmp_path: Path) -> None:
    """As macOS writes it in one part and Linux in the other."""
    tree(tmp_path / "mine", ("caf\u00e9",), ("train",))
    tree(tmp_path / "mine", ("cafe\u0301",), ("test",))
    assert read(tmp_path / "mine", tmp_path).classes == ("caf\u00e9",)


def seen(image: Image.Image, form: str = "PNG", channels: int = 1, **options: Any) -> Any:
    content = io.BytesIO()
    image.save(content, form, **options)
    return pixels(content.getvalue(), (channels, image.height, image.width), "x")


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(form: str) -> None:
    ramp = np.arange(256).reshape(16, 16)
    found = seen(Image.fromarray((ramp * 257).astype(np.uint16)), form)
    assert np.array_equal(found[0], ramp)


@pytest.mark.parametrize("values", [np.ones((4, 4), np.float32), np.ones((4, 4), np.int32)])
def test_values_without_a_range_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match=r"x holds .* give it 8 or 16 bits"):
        seen(Image.fromarray(values), "TIFF")


def test_images_are_turned_upright() -> None:
    image = Image.fromarray(np.arange(0, 160, 10, dtype=np.uint8).reshape(4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    assert np.array_equal(seen(image, exif=exif)[0], np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    options = {"transparency": 0} if mode == "P" else {}
    assert (seen(image, channels=3, **options) == 255).all()


def test_an_image_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/1.png", "b/1.png"):
            archive.writestr(name, bytes(10_000))
    content = path.read_bytes()  # the size of a directory's entry stands 24 bytes behind its sign
    place = content.rindex(b"PK\x01\x02") + 24
    path.write_bytes(content[:place] + (3 << 30).to_bytes(4, "little") + content[place + 4 :])
    with pytest.raises(
        ValueError, match=r"b/1\.png is larger than any image \(3,221,225,472 bytes"
    ):
        read(path, tmp_path)


def test_a_bomb_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.data.sources.decoding.MOST", 15)
    with pytest.raises(ValueError, match="x is not read: it has 4 x 4 pixels"):
        seen(Image.new("L", (4, 4)))


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_official_archives_are_looked_at_by_size_as_well(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LARGEST", 5000)
    path = tmp_path / f"x.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("a.png", bytes(6000))
    else:
        with tarfile.open(path, "w") as packed:
            entry = tarfile.TarInfo("a.png")
            entry.size = 6000
            packed.addfile(entry, io.BytesIO(bytes(6000)))
    with pytest.raises(ValueError, match=r"a\.png is larger than any image \(6,000 bytes\)"):
        list(archive.members(path, ".png"))
