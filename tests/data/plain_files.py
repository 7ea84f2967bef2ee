"""Images of one colour, and streams of them."""

from __future__ import annotations

import io
from pathlib import Path

from hydra.utils import instantiate
from PIL import Image

from lifelong.data import TaskStream
from tests.conftest import configured


def plain(value: int, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def tasks_of(tmp_path: Path, data: str, *more: str) -> TaskStream:
    config = configured(f"data={data}", f"paths.data_dir={tmp_path}", "batch_size=2", *more)
    found: TaskStream = instantiate(config.data, _convert_="all")
    return found


def write_folder(root: Path, classes: int, size: tuple[int, int] = (40, 20)) -> None:
    for label in range(classes):
        for part, count in (("train", 6), ("test", 3)):
            for number in range(count):
                path = root / part / f"class {label}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(plain(30 * label + number, size))
