"""How images are read."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lifelong.data.sources.decoding import pixels


def seen(image: Image.Image, form: str = "PNG", channels: int = 1, **options: Any) -> Any:
    content = io.BytesIO()
    image.save(content, form, **options)
    return pixels(content.getvalue(), (channels, image.height, image.width), "x")


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
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


def test_a_bomb_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifelong.data.sources.decoding.MOST", 15)
    with pytest.raises(ValueError, match="x is not read: it has 4 x 4 pixels"):
        seen(Image.new("L", (4, 4)))
