"""What models are given: components of features, or images; from one network, in one size, known by content."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from galc import store
from galc.data import images
from galc.data.backbones import build_backbone
from galc.study import inputs
from galc.study.inputs import prepare, principal_components
from galc.study.params import checked


@pytest.fixture
def copy(colours, tmp_path):
    """A copy of the coloured blocks that a test may change, and its parameters."""
    return shutil.copytree(colours, tmp_path / "copy")


def edit(root, split, change) -> None:
    """Apply ``change`` to the annotations of a split."""
    path = root / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_probe_sees_components_of_unit_scale(tiny):
    its = prepare(checked(tiny))
    assert its.x.shape == (120, 8) and its.x.dtype == torch.float32
    assert its.test_x.shape == (len(its.test), 8)
    assert its.x.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    spread = its.x.std(0)
    assert (spread.diff() < 0).all()  # in order of their size, and not whitened
    model = its.build(16, 0.5, 0.0)
    assert model(its.x).shape == (120, 7) and its.augment is None is its.prepare


def test_only_test_images_with_two_labels_are_measured(tiny):
    its = prepare(checked(tiny))
    assert 30 < len(its.test) < 60 and its.test.labels.sum(1).min() >= 2
    assert (its.train.labels.sum(1) == 1).any()  # single-label images are for training alone


def test_components_equal_a_plain_singular_value_decomposition():
    generator = np.random.default_rng(0)
    train = (generator.normal(size=(50, 9)) * np.arange(1, 10) + 3).astype(np.float32)
    test = generator.normal(size=(7, 9)).astype(np.float32)
    entry = principal_components(train, test, 4)
    x, y = ((part - train.mean(0, dtype=np.float64)) / train.std(0, dtype=np.float64) for part in (train, test))
    _, values, axes = np.linalg.svd(x, full_matrices=False)
    scale = 1 / (x @ axes[:4].T).std()
    for name, part in (("train", x), ("test", y)):
        expected = scale * part @ axes[:4].T
        sign = np.sign((entry.arrays["train"] * (scale * x @ axes[:4].T)).sum(0))
        np.testing.assert_allclose(entry.arrays[name] * sign, expected, rtol=1e-3, atol=1e-4)
    assert entry.record["explained_variance"] == pytest.approx((values[:4] ** 2).sum() / (values**2).sum(), rel=1e-4)


def test_components_are_stored_by_content(monkeypatch):
    train, test = np.random.default_rng(0).normal(size=(2, 20, 5)).astype(np.float32)
    first = principal_components(train, test, 3)
    monkeypatch.setattr(inputs, "PCA", None)
    assert np.array_equal(principal_components(train, test, 3).arrays["train"], first.arrays["train"])
    for other in ((train + 1, test, 3), (train, test + 1, 3), (train, test, 2)):
        with pytest.raises(TypeError):
            principal_components(*other)


def test_more_components_than_there_are_is_said_before_the_features_are_computed(tiny, monkeypatch):
    monkeypatch.setattr(images, "features", None)
    with pytest.raises(ValueError, match="parameter 'components' = 121: at most 120, the number of images"):
        prepare(checked(tiny | {"components": 121}))
    with pytest.raises(ValueError, match="parameter 'components' = 6: at most 5, the features' rank"):
        principal_components(np.ones((9, 5), np.float32), np.ones((2, 5), np.float32), 6)


def test_both_parts_go_through_one_network_also_where_its_weights_are_drawn(tiny, copy):
    shutil.rmtree(copy / "images" / "val")
    shutil.copytree(copy / "images" / "train", copy / "images" / "val")
    edit(copy, "val", lambda content: None)
    (copy / "annotations" / "instances_val.json").write_text(
        (copy / "annotations" / "instances_train.json").read_text()
    )
    torch.manual_seed(5)
    its = prepare(checked(tiny | {"data": str(copy)}))
    several = its.train.labels.sum(1) >= 2
    torch.testing.assert_close(its.test_x, its.x[several], rtol=1e-4, atol=1e-4)
    torch.manual_seed(6)
    assert prepare(checked(tiny | {"data": str(copy)})).digest == its.digest


def test_both_parts_have_the_size_of_the_training_images(tiny, copy, monkeypatch):
    for file in (copy / "images" / "val").iterdir():
        with Image.open(file) as image:
            image.resize((48, 48)).save(file)
    sizes, features = [], images.features
    monkeypatch.setattr(
        images,
        "features",
        lambda data, name, weights, size, mirror: sizes.append(size) or features(data, name, weights, size),
    )
    prepare(checked(tiny | {"data": str(copy), "image_size": None}))
    assert sizes == [32, 32]
    its = prepare(checked(tiny | {"data": str(copy), "image_size": None, "mode": "finetune"}))
    assert its.x.shape[2:] == its.test_x.shape[2:] == (32, 32)


def test_mirror_images_count_as_much_as_the_images(tiny, copy):
    def mirrored_files():
        for part in ("train", "val"):
            for file in (copy / "images" / part).iterdir():
                with Image.open(file) as image:
                    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file)

    plain = prepare(checked(tiny | {"data": str(copy)}))
    both = prepare(checked(tiny | {"data": str(copy), "mirror": True}))
    assert not torch.allclose(plain.x, both.x, atol=1e-2)
    mirrored_files()
    assert not torch.allclose(prepare(checked(tiny | {"data": str(copy)})).x, plain.x, atol=1e-2)
    again = prepare(checked(tiny | {"data": str(copy), "mirror": True}))
    torch.testing.assert_close(again.x, both.x, rtol=1e-3, atol=1e-3)


def test_classes_that_differ_between_the_parts_are_named(tiny, copy):
    edit(copy, "val", lambda content: content["categories"][0].update(name="crimson"))
    with pytest.raises(ValueError, match=r"train.* and .*differ in their classes: crimson, red"):
        prepare(checked(tiny | {"data": str(copy)}))


def test_a_test_set_without_any_image_of_two_labels_is_named(tiny, copy):
    def keep_one(content):
        content["annotations"] = list({a["image_id"]: a for a in content["annotations"]}.values())

    edit(copy, "val", keep_one)
    with pytest.raises(ValueError, match="no image has two labels or more"):
        prepare(checked(tiny | {"data": str(copy)}))


def test_fine_tuning_sees_images(tiny):
    its = prepare(checked(tiny | {"mode": "finetune"}))
    assert its.x.shape == (120, 3, 32, 32) and its.x.dtype == torch.uint8
    prepared = its.prepare(its.x[:2])
    assert torch.equal(prepared, its.x[:2].float() / 255)
    assert its.augment(its.x[:2]).shape == prepared.shape
    model = its.build(16, 0.3, 0.0)
    assert model(prepared).shape == (2, 7) and model[1].p == 0.3
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_the_digest_knows_pixels_and_labels(mode, tiny, copy):
    def digest():
        return prepare(checked(tiny | {"data": str(copy), "mode": mode})).digest

    first = digest()
    assert digest() == first
    Image.new("RGB", (32, 32), "teal").save(copy / "images" / "val" / "059.png")
    Image.new("RGB", (32, 32), "teal").save(copy / "images" / "train" / "000.png")
    pixels = digest()
    edit(copy, "train", lambda content: content["annotations"][0].update(category_id=7))
    assert len({first, pixels, digest()}) == 3


def test_the_digest_knows_the_content_of_a_weights_file(tiny, tmp_path):
    def digest(seed):
        torch.manual_seed(seed)
        body = build_backbone("test_efficientnet", "none")[0]
        store.save_file({k: v.numpy() for k, v in body.state_dict().items()}, tmp_path / "w.safetensors")
        return prepare(checked(tiny | {"mode": "finetune", "weights": str(tmp_path / "w.safetensors")})).digest

    assert digest(0) == digest(0) != digest(1)


def test_a_setup_cannot_be_changed(tiny):
    its = prepare(checked(tiny))
    with pytest.raises(AttributeError):
        its.digest = ""
    assert replace(its, digest="x").digest == "x"


def test_images_of_fine_tuning_are_read_once_to_know_them(tiny, monkeypatch):
    seen, content = [], images.content
    monkeypatch.setattr(images, "content", lambda data, *rest: seen.append(data.name) or content(data, *rest))
    prepare(checked(tiny | {"mode": "finetune"}))
    assert len(seen) == len(set(seen)) == 2  # train and test


def test_only_the_latest_data_sets_stay_in_memory(tiny):
    first = inputs.Inputs(checked(tiny)).data
    assert inputs.Inputs(checked(tiny | {"seed": 5})).data is first
    for components in (7, 6):
        _ = inputs.Inputs(checked(tiny | {"components": components})).data
    again = inputs.Inputs(checked(tiny)).data
    assert again is not first and again.digest == first.digest


def test_one_picture_under_many_names_is_said_to_be_one():
    with pytest.raises(ValueError, match="all 30 images look the same to the backbone: one picture under many names"):
        principal_components(np.ones((30, 4), np.float32), np.ones((2, 4), np.float32), 2)
