"""Trees of images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from lifelong.data.sources import image_folder
from lifelong.data.sources.source import Source


def png(grey: int, size: tuple[int, int] = (4, 4)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(content, "PNG")
    return content.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def read(root: Path, cache: Path, **options: Any) -> Source:
    return image_folder(root, shape=(3, 4, 4), cache=cache, **options)


def tree(root: Path, classes: tuple[str, ...] = ("a", "b"), parts: Any = ("train", "test")) -> Path:
    for part in parts:
        for label in classes:
            for row in range(6):
                write(root / part / label / f"{row}.png", png(10 * row))
    return root
