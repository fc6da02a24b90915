"""Small copies of images, for galleries and widgets."""

import base64
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps

from galc.data.images import to_rgb

SIDE = 150  # pixels, the longer side


class UnreadableImage(OSError):
    """A file that is no image, or half of one; the message names it."""


@lru_cache(maxsize=512)
def thumbnail(file: Path, side: int = SIDE) -> bytes:
    """An image file as a JPEG, upright, its longer side at most ``side`` pixels; read as `galc.data.images` reads it.

    Raises UnreadableImage.
    """
    try:
        with Image.open(file) as image:
            image.draft("RGB", (2 * side, 2 * side))
            ImageOps.exif_transpose(image, in_place=True)
            small = to_rgb(image)
    except Exception as error:  # Pillow raises errors of many kinds for broken files
        message = f"{file} cannot be read as an image ({error}); put it back, or take it out of the data"
        raise UnreadableImage(message) from None
    small.thumbnail((side, side))
    small.save(buffer := io.BytesIO(), "JPEG", quality=85)
    return buffer.getvalue()


def data_url(file: Path, side: int = SIDE) -> str:
    """The same as the ``src`` of an image that lies inside its page."""
    return inlined(thumbnail(file, side), "jpeg")


def inlined(content: bytes, kind: str) -> str:
    """The content of an image file ("jpeg", "png") as the ``src`` of an image that lies inside its page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
