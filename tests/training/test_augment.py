"""Augmentation: each image its own draw, from the seed, in the range that models take."""

from functools import partial

import torch
from host import NothingReadBack
from torchvision.transforms.v2 import RandAugment

from galc.training import augment
from galc.training.augment import Augment, cutout, to_unit


def grey(n: int, size: int = 32) -> torch.Tensor:
    return torch.full((n, 3, size, size), 128, dtype=torch.uint8)


def painted(images: torch.Tensor, value: float) -> torch.Tensor:
    """(B, H, W) bool: pixels that are no longer ``value``."""
    return (images != value).any(1)


def test_uint8_goes_in_and_float_in_the_unit_interval_comes_out():
    images = torch.randint(0, 256, (8, 3, 24, 32), dtype=torch.uint8)
    before = images.clone()
    torch.manual_seed(0)
    for transform in (Augment(), Augment(randaugment=False), to_unit):
        out = transform(images)
        assert out.shape == images.shape and out.dtype == torch.float32
        assert out.min() >= 0 and out.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(to_unit(images) * 255, images.float())


def test_cutout_paints_one_rectangle_of_half_the_sides_clipped_by_the_edges_in_one_colour():
    torch.manual_seed(0)
    out = cutout(torch.full((400, 3, 32, 48), 2.0), 0.5)
    mask = painted(out, 2.0)
    heights, widths = mask.any(2).sum(1), mask.any(1).sum(1)
    assert torch.equal(mask.sum((1, 2)), heights * widths)  # a whole rectangle
    assert heights.max() == 17 and widths.max() == 25  # half the side, the centre's pixel included
    assert heights.min() == 9 and widths.min() == 13  # half of that is the least: the centre is inside
    for image, spot in zip(out[:20], mask[:20], strict=True):
        colour = image[:, spot]
        assert (colour == colour[:, :1]).all() and colour.min() >= 0 and colour.max() <= 1


def test_cutout_falls_everywhere():
    torch.manual_seed(0)
    often = painted(cutout(torch.full((2000, 3, 16, 16), 2.0), 0.5), 2.0).float().mean(0)
    assert often.min() > 0.05 and often[8, 8] > 0.2


def test_each_image_of_a_batch_has_its_own_draw():
    torch.manual_seed(0)
    out = cutout(to_unit(grey(16)), 0.5)
    masks = painted(out, 128 / 255)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 12
    assert len({tuple(image[:, mask][:, 0].tolist()) for image, mask in zip(out, masks, strict=True)}) == 16


def test_randaugment_changes_images_each_in_its_own_way():
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    out = Augment(cutout=0.01)(image.expand(16, -1, -1, -1))
    changed = painted(out.reshape(16, 3, 32, 32) - to_unit(image), 0.0).float().mean((1, 2))
    assert (changed > 0.1).sum() > 8
    assert len({tuple(o.flatten().tolist()) for o in out}) > 8


def test_a_batch_equals_torchvisions_operations_image_by_image():
    generator = torch.Generator().manual_seed(0)
    smooth = 255 * torch.nn.functional.interpolate(torch.rand(4, 3, 6, 6, generator=generator), (33, 48))
    images = torch.cat(
        [smooth.to(torch.uint8), torch.randint(0, 256, (4, 3, 33, 48), dtype=torch.uint8), grey(2, 48)[:, :, :33]]
    )
    theirs = RandAugment()
    for number, name in enumerate(augment.OPERATIONS):
        levels, signed = theirs._AUGMENTATION_SPACE[name]
        level = levels(31, 33, 48)
        for sign in (-1, 1):
            level_now = 0.0 if level is None else float(level[9]) * (sign if signed else 1)
            apply = partial(theirs._apply_image_or_video_transform, transform_id=name, magnitude=level_now)
            expected = torch.stack(
                [apply(image, interpolation=theirs.interpolation, fill=theirs._fill) for image in images]
            )
            which = torch.full((10,), (number + 0.5) / len(augment.OPERATIONS))
            got = augment.randaugment(images, which, torch.full((10,), 0.5 + 0.1 * sign))
            off = (got.int() - expected.int()).abs()
            assert off.max() <= 1 and (off > 0).float().mean() < 0.05, name  # rounding of halves
            assert off.max() == 0 or name in ("Color", "Sharpness", "AutoContrast")


def test_every_operation_is_drawn_as_often_on_either_side():
    draws = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0))
    chosen = (draws[:, 0] * len(augment.OPERATIONS)).long()
    assert (chosen.bincount(minlength=14) / 20_000 - 1 / 14).abs().max() < 0.01
    moved = chosen == augment.OPERATIONS.index("TranslateX")
    matrices = augment.inverse_matrices(chosen[moved], torch.where(draws[moved, 1] <= 0.5, -1.0, 1.0), 32, 32)
    right = matrices[:, 0, 2] < 0
    assert 0.45 < right.float().mean() < 0.55


def test_an_image_is_augmented_alike_in_any_batch():
    images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
    draws = torch.rand(12, Augment.draws)
    whole = Augment()(images, draws)
    order = torch.randperm(12)
    torch.testing.assert_close(Augment()(images[order], draws[order]), whole[order])
    parts = [Augment()(images[n : n + 5], draws[n : n + 5]) for n in (0, 5, 10)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_a_gpu_would_never_be_waited_for():
    images, draws = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), torch.rand(64, Augment.draws)
    with NothingReadBack():
        Augment()(images, draws)


def test_the_seed_of_the_global_generator_gives_the_augmentation():
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)

    def draw(seed):
        torch.manual_seed(seed)
        return Augment()(images)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
