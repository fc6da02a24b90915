"""Images of all kinds while labels are cleaned: which are read and how, and which are refused, each by its name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from galc.clean import report
from galc.clean.pipeline import Cleaning, load
from galc.data import images
from galc.data.dataset import Dataset

MODEL = {"backbone": "test_efficientnet", "weights": "none", "image_size": 32, "components": 8}
SMALL = {"epochs": 1, "fold_epochs": 1, "folds": 2, "hidden": 8, "batch_size": 16, "input_dropout": 0.0}
COUNT = 24


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((40, 24), Image.Resampling.BICUBIC)


def cmyk(folder: Path) -> Image.Image:
    own = picture(99).convert("CMYK")
    own.save(folder / "odd.tif")
    return own.convert("RGB")


def cmyk_jpeg(folder: Path) -> Image.Image:
    picture(99).convert("CMYK").save(folder / "odd.jpg")
    with Image.open(folder / "odd.jpg") as own:
        assert own.mode == "CMYK"
        return own.convert("RGB")


def sixteen_bits(folder: Path) -> Image.Image:
    grey = picture(99).convert("L")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(folder / "odd.png")
    return grey.convert("RGB")


def animated_gif(folder: Path) -> Image.Image:
    frames = [picture(seed).quantize(32) for seed in (99, 98, 97)]
    frames[0].save(folder / "odd.gif", save_all=True, append_images=frames[1:])
    return frames[0].convert("RGB")


def animated_png(folder: Path) -> Image.Image:
    picture(99).save(folder / "odd.png", save_all=True, append_images=[picture(98), picture(97)])
    return picture(99)


READ = (cmyk, cmyk_jpeg, sixteen_bits, animated_gif, animated_png)


def source(folder: Path, odd: str) -> Path:
    """A CSV of ``COUNT`` images, the last of which is ``odd``."""
    for n in range(COUNT - 1):
        picture(n).save(folder / f"{n}.png")
    names = [f"{n}.png" for n in range(COUNT - 1)] + [odd]
    rows = "".join(f"{name},{('cat', 'dog', 'cat|dog')[n % 3]}\n" for n, name in enumerate(names))
    (folder / "mine.csv").write_text("image,labels\n" + rows)
    return folder / "mine.csv"


def features(given: Dataset) -> torch.Tensor:
    """(N, 8) float32 what the models take of the images."""
    return Cleaning(given, **MODEL, **SMALL).stages[1].x


@pytest.mark.parametrize("kind", READ)
def test_it_counts_as_its_first_picture_in_plain_rgb(tmp_path, kind: Callable):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    plain = kind(tmp_path / "one")
    (odd,) = (tmp_path / "one").iterdir()
    plain.save(tmp_path / "two" / "plain.png")
    np.testing.assert_array_equal(images.read_image(odd, 32), images.read_image(tmp_path / "two" / "plain.png", 32))
    given = load(source(tmp_path / "one", odd.name))
    assert torch.equal(features(given), features(load(source(tmp_path / "two", "plain.png"))))
    assert float((features(given)[-1] - features(given)[:-1]).abs().sum(1).min()) > 1e-3  # it is seen at all


@pytest.mark.parametrize("kind", READ)
def test_it_is_cleaned_and_shown_like_the_others(tmp_path, kind: Callable):
    kind(tmp_path)
    (odd,) = tmp_path.iterdir()
    cleaned = Cleaning(load(source(tmp_path, odd.name)), **MODEL, **SMALL).result()
    assert cleaned.files[-1] == odd and torch.isfinite(cleaned.posterior[-1]).all()
    page = report.gallery(cleaned, tmp_path / "gallery.html").read_text()
    assert "cannot be read" not in page and page.count("data:image/jpeg") == len(cleaned.suspicious)


# --- refused -------------------------------------------------------------------------------------------------------


def jpeg_cut_short(folder: Path) -> None:
    picture(99).save(folder / "odd.jpg")
    (folder / "odd.jpg").write_bytes((folder / "odd.jpg").read_bytes()[:-200])


def png_cut_short(folder: Path) -> None:
    picture(99).save(folder / "odd.png")
    (folder / "odd.png").write_bytes((folder / "odd.png").read_bytes()[:-200])


def animation_cut_in_its_first_frame(folder: Path) -> None:
    animated_gif(folder)
    (folder / "odd.gif").write_bytes((folder / "odd.gif").read_bytes()[:300])


def no_image(folder: Path) -> None:
    (folder / "odd.png").write_text("<html>404</html>")


def floating_point(folder: Path) -> None:
    Image.fromarray(np.ones((8, 8), np.float32)).save(folder / "odd.tif")


def empty(folder: Path) -> None:
    (folder / "odd.png").write_bytes(b"")


def test_a_file_of_no_bytes_is_refused_when_labels_are_loaded(tmp_path):
    empty(tmp_path)
    with pytest.raises(ValueError, match=r"mine: the image file .*odd\.png is empty \(0 bytes\); fetch it again"):
        load(source(tmp_path, "odd.png"))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (jpeg_cut_short, "truncated"),
        (png_cut_short, "truncated"),
        (animation_cut_in_its_first_frame, "truncated"),
        (no_image, "cannot identify image file"),
        (floating_point, "floating-point pixels have no fixed range"),
    ],
)
@pytest.mark.parametrize("size", [32, None])
def test_an_image_that_cannot_be_read_stops_the_cleaning_with_its_name(tmp_path, kind: Callable, why, size):
    """Half an image never passes for a whole one, and nothing that could be taken for a result is stored."""
    kind(tmp_path)
    (odd,) = tmp_path.iterdir()
    given = load(source(tmp_path, odd.name))
    with pytest.raises(ValueError, match=rf"{odd.name}.*{why}") as raised:
        Cleaning(given, **MODEL | {"image_size": size}, **SMALL).result()
    assert "fetch" in str(raised.value) and "take" in str(raised.value)


def test_an_animation_that_is_cut_behind_its_first_frame_counts_as_that_frame(tmp_path):
    expected = np.asarray(animated_gif(tmp_path))
    (tmp_path / "odd.gif").write_bytes((tmp_path / "odd.gif").read_bytes()[:-200])
    with Image.open(tmp_path / "odd.gif") as own, pytest.raises((OSError, EOFError)):  # it is cut
        for frame in range(3):
            own.seek(frame)
            own.load()
    whole = features(load(source(tmp_path, "odd.gif")))
    Image.fromarray(expected).save(tmp_path / "plain.png")
    assert torch.equal(whole, features(load(source(tmp_path, "plain.png"))))
