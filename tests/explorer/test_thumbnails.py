import io

import numpy as np
import pytest
from PIL import Image

from galc.explorer.sources import data_url, thumbnail


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(("size", "wanted"), [((400, 100), (150, 38)), ((30, 90), (30, 90)), ((1, 1), (1, 1))])
def test_the_longer_side_is_made_to_fit_and_small_images_stay_as_they_are(tmp_path, size, wanted):
    Image.new("RGB", size, "red").save(tmp_path / "a.png")
    small = opened(thumbnail(tmp_path / "a.png"))
    assert small.format == "JPEG" and small.size == wanted
    assert max(opened(thumbnail(tmp_path / "a.png", 20)).size) <= 20


def test_an_image_that_was_taken_sideways_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    Image.new("RGB", (80, 40), "red").save(tmp_path / "a.jpg", exif=exif)
    assert opened(thumbnail(tmp_path / "a.jpg")).size == (40, 80)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16", "YCbCr"])
def test_every_mode_is_shown(tmp_path, mode):
    image = Image.fromarray(np.full((40, 40), 40_000, np.uint16)) if mode == "I;16" else Image.new(mode, (40, 40))
    image.save(tmp_path / "a.tiff")
    assert opened(thumbnail(tmp_path / "a.tiff")).mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off"])
def test_an_image_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(OSError, match=r"broken\.jpg cannot be read as an image .*; put it back"):
        thumbnail(tmp_path / "broken.jpg")


def test_half_an_image_does_not_pass_for_a_whole_one(tmp_path):
    Image.effect_noise((200, 200), 90).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match="cannot be read"):
        thumbnail(tmp_path / "a.jpg")


def test_an_address_holds_the_image_itself(tmp_path):
    Image.new("RGB", (9, 9), "blue").save(tmp_path / "a.png")
    assert data_url(tmp_path / "a.png").startswith("data:image/jpeg;base64,/9j/")
