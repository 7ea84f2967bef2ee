"""Image files as pixels, as a person sees them.

Images are turned upright (EXIF), transparent ones are laid on white, 16-bit grey is scaled to eight
bits, of several frames the first counts. Colour profiles are ignored: pixels are taken as sRGB.
Grey values in 32 bits or as fractions have no range of their own and are refused.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

_ = TiffImagePlugin, WebPImagePlugin  # whose import makes their formats known
# Of the endings; none of them makes another program start.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MOST = 2**28  # pixels of a file
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF


def pixels(
    content: bytes, shape: Sequence[int], name: str, crop: bool = False
) -> NDArray[np.uint8]:
    """An image file brought to a shape, bilinear with anti-aliasing.

    Args:
        content: of the file.
        shape: (c, h, w); 1 channel is grey, 3 is RGB.
        name: of the file, for messages.
        crop: keep the aspect ratio: cut what is too long on both sides evenly, then resize.

    Raises:
        ValueError: not a readable image, too large, or of values without a range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as file:
                return array_of(file, shape, name, crop)
    except UnidentifiedImageError:
        reason = "empty" if not content else "of no known kind"
        raise ValueError(f"{name} is not a readable image ({reason})") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is not read: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, OverflowError) as error:
        if str(error).startswith(name):
            raise
        raise ValueError(f"{name} is not a readable image ({error})") from None


def array_of(
    file: Image.Image, shape: Sequence[int], name: str, crop: bool = False
) -> NDArray[np.uint8]:
    """An image of PIL as an array of a shape (c, h, w), see `pixels`."""
    channels, height, width = shape
    image = _seen(file, "L" if channels == 1 else "RGB", name)
    if image.size != (width, height):
        bring = ImageOps.fit if crop else Image.Image.resize
        image = bring(image, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _seen(file: Image.Image, mode: str, name: str) -> Image.Image:
    """The image in `L` or `RGB`, upright and without transparency."""
    if file.width * file.height > MOST:
        raise ValueError(f"{name} is not read: it has {file.width} x {file.height} pixels")
    if file.mode.startswith("I;16") or (file.mode == "I" and file.format in ("PNG", "PPM")):
        values = _of_16_bits(file)
        image = Image.fromarray((values / 257 + 0.5).astype(np.uint8))
        image.getexif().update(file.getexif())
    elif file.mode in ("I", "F"):
        kind = "32-bit numbers" if file.mode == "I" else "fractions"
        raise ValueError(
            f"{name} holds {kind}, whose black and white are not known; give it 8 or 16 bits"
        )
    else:
        image = file
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)


def _of_16_bits(file: Image.Image) -> NDArray[np.float64]:
    """Grey values from 0 to 65535: of fewer bits, with white as 0, or one of them transparent."""
    stored = np.asarray(file)
    values = stored.astype(np.float64)
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        bits = int(np.ravel(file.tag_v2.get(BITS, 16))[0])
        values *= 65535 / (2**bits - 1)
        if file.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            values = 65535 - values
    clear = file.info.get("transparency")
    if isinstance(clear, int):
        values[stored == clear] = 65535  # laid on white
    return values


@contextmanager
def known_formats() -> Iterator[None]:
    """Within, PIL opens files of `FORMATS` alone, whoever asks it to: others start programs."""
    Image.init()
    every = list(Image.ID)
    Image.ID[:] = [name for name in every if name in FORMATS]
    try:
        yield
    finally:
        Image.ID[:] = every
