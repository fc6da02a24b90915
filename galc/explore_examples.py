"""Example images of the explorer as HTML: pictures with what became of their labels, in words and signs."""

import base64
import html
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from galc.explore_data import Example

SIZE = 150  # pixels, the longer side


def gallery(examples: Sequence[Example], name: str) -> str:
    """Pictures whose label ``name`` was flipped, or a sentence that there is none.

    Lost labels are struck out, with "−" before them; gained ones bold, with "+". The alternative text says it all.
    """
    if not examples:
        return f"<p>No image lost its label <b>{html.escape(name)}</b>.</p>"
    figures = "".join(figure(example) for example in examples)
    heading = f"<p>Images that lost their label <b>{html.escape(name)}</b>:</p>"
    return f"{heading}<div class='galc-gallery'>{figures}</div>"


def figure(example: Example) -> str:
    """One picture, its labels below it: those that stayed, were lost, were gained."""
    kept, lost, gained = ([html.escape(name) for name in names] for names in example[1:])
    lines = [f"− <del>{name}</del>" for name in lost] + [f"+ <ins>{name}</ins>" for name in gained] + kept
    before, after = ", ".join(kept + lost), ", ".join(kept + gained)
    return (
        f"<figure><img src='data:image/jpeg;base64,{thumbnail(example.file)}' "
        f'alt="labels before: {before}; after: {after}"><figcaption>{"<br>".join(lines)}</figcaption></figure>'
    )


@lru_cache(maxsize=512)
def thumbnail(file: Path) -> str:
    """A small JPEG of an image file, base64. Raises OSError naming the file where it cannot be read."""
    try:
        with Image.open(file) as image:
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
            small = image.convert("RGB")
    except OSError as error:
        raise OSError(f"{file} cannot be read as an image ({error}); put it back, or take it out of the data") from None
    small.thumbnail((SIZE, SIZE))
    small.save(buffer := io.BytesIO(), "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
