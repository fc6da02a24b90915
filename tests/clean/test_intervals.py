"""How labels were corrupted: known noise is found, intervals hold it and shrink, and advice names what would help."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from galc.clean import intervals
from galc.clean.intervals import Rates
from galc.clean.stages import InContext, anchors, as_noisy, heard
from galc.data.dataset import Dataset
from galc.estimators.label_sets import LabelSets
from galc.noise import Noise, pair_flip, symmetric

SIZE = 8


def world(images: int, noise: Noise, seed: int = 0, sharp: float = 4.0):
    """Logits that are calibrated probabilities of true labels drawn from them, the labels with noise, 200 trusted."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharp * torch.randn(images, noise.transition.shape[0], generator=generator) - sharp
    true = torch.rand(logits.shape, generator=generator) < logits.sigmoid()
    trusted = torch.arange(images) < 200
    labels = as_noisy(true, ~trusted, noise, seed)
    return logits[None], labels, trusted, true


def test_known_noise_is_found_and_the_interval_holds_it():
    noise = Noise(pair_flip(SIZE, 0.3))
    sources, labels, trusted, true = world(2000, noise)
    found, _ = intervals.estimate(sources, labels, trusted, replicates=8)
    assert float((found["transition"].estimate - noise.transition).abs().max()) < 0.08
    for rates in found.values():
        assert ((rates.low <= rates.estimate) & (rates.estimate <= rates.high)).all()
        assert ((rates.low >= 0) & (rates.high <= 1)).all()
    silver = ~trusted
    wrong = (labels & ~true)[silver].sum(0) / labels[silver].sum(0)
    missing = (true & ~labels)[silver].sum(0) / true[silver].sum(0)
    assert float((found["wrong"].estimate - wrong).abs().max()) < 0.06
    assert float((found["missing"].estimate - missing).abs().max()) < 0.06
    assert float(((wrong >= found["wrong"].low) & (wrong <= found["wrong"].high)).double().mean()) > 0.85
    assert float(((missing >= found["missing"].low) & (missing <= found["missing"].high)).double().mean()) > 0.85


def test_without_trusted_images_missing_labels_do_not_pass_for_no_noise():
    """A model that nobody checked finds a class less often, because its labels are missing."""
    noise = Noise(torch.eye(SIZE).double(), torch.full((SIZE,), 0.3).double(), torch.zeros(SIZE).double())
    sources, labels, trusted, _ = world(4000, noise)
    known = 0.85 * sources[0, ~trusted].sigmoid()
    found = intervals.first(known, labels[~trusted], checked=False)
    assert float(found.removed.mean()) > 0.15 and float(found.transition.diagonal().mean()) > 0.99


def test_fewer_images_leave_wider_intervals():
    noise = Noise(symmetric(SIZE, 0.3))
    widths = []
    for images in (400, 3000):
        sources, labels, trusted, _ = world(images, noise)
        found, _ = intervals.estimate(sources, labels, trusted, replicates=6)
        widths.append(float((found["wrong"].high - found["wrong"].low).mean()))
    assert widths[0] > 1.3 * widths[1]


def test_drawn_calibrations_vary_as_the_posterior_of_their_biases():
    """With the images as they are, a draw differs by the rest alone: much for a class that is seldom unsure."""
    logits = torch.stack([torch.zeros(400), torch.full((400,), -9.0)], 1)
    labels = torch.stack([torch.arange(400) % 2 == 0, torch.arange(400) < 0], 1)
    every, generator = torch.arange(400), torch.Generator().manual_seed(0)
    fitted = intervals._calibrated(logits[None], labels, every, every[:1]).logit()[0]
    draws = [intervals._calibrated(logits[None], labels, every, every[:1], generator).logit()[0] for _ in range(100)]
    spread = (torch.stack(draws) - fitted).double().std(0)
    unsure = 400 * fitted.sigmoid().double() * (1 - fitted.sigmoid().double())
    expected = intervals.RIDGE**0.5 / (intervals.RIDGE + unsure)
    assert spread.tolist() == pytest.approx(expected.tolist(), rel=0.25) and float(spread[1] / spread[0]) > 10


def test_more_images_than_are_drawn_do_not_narrow_what_the_trusted_ones_leave_open(monkeypatch):
    sources, labels, trusted, _ = world(700, Noise(symmetric(SIZE, 0.3)))
    widths = []
    for most in (4096, 100):
        monkeypatch.setattr(intervals, "MOST", most)
        found, _ = intervals.estimate(sources, labels, trusted, replicates=5)
        widths.append(float((found["wrong"].high - found["wrong"].low).mean()))
    assert widths[1] > widths[0]


def test_the_same_seed_gives_the_same_intervals():
    sources, labels, trusted, _ = world(300, Noise(symmetric(SIZE, 0.3)))
    (one, _), (two, _) = (intervals.estimate(sources, labels, trusted, seed=3, replicates=3) for _ in range(2))
    for name, end in (("wrong", "high"), ("transition", "low")):
        assert torch.equal(getattr(one[name], end), getattr(two[name], end))


def test_one_class_can_only_come_and_go():
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(1500, 1, generator=generator)
    true = torch.rand(logits.shape, generator=generator) < logits.sigmoid()
    trusted = torch.arange(1500) < 300
    labels = true & ((torch.rand(true.shape, generator=generator) > 0.3) | trusted[:, None])
    found, _ = intervals.estimate(logits[None], labels, trusted, replicates=3)
    assert found["transition"].estimate.tolist() == [[1.0]]
    assert float(found["removed"].estimate) == pytest.approx(0.3, abs=0.06)
    noise = Noise(*(found[name].estimate for name in ("transition", "removed", "added")))
    posterior = LabelSets(logits.sigmoid(), labels).posterior(noise)
    assert posterior.shape == (1500, 1) and (posterior[labels & (logits > 2)] > 0.9).all()


# --- without trusted images ----------------------------------------------------------------------------------------


def test_anchors_bound_what_vanishes_by_the_surest_class_and_what_appears_class_by_class():
    given = torch.zeros(1000, 2)
    labels = torch.zeros(1000, 2).bool()
    labels[:500, 0], labels[:500, 1] = True, True
    given[:, 0], given[:, 1] = torch.where(labels[:, 0], 0.8, 0.1), torch.where(labels[:, 1], 0.5, 0.02)
    noise = anchors(given, labels)
    assert noise.removed.tolist() == pytest.approx([0.2, 0.2]) and noise.added.tolist() == pytest.approx([0.1, 0.02])
    assert torch.equal(noise.transition, torch.eye(2).double())


def test_a_class_without_labels_has_no_anchor_and_does_no_harm():
    noise = anchors(torch.full((30, 2), 0.3), torch.tensor([[True, False]]).expand(30, 2))
    assert noise.removed.tolist() == pytest.approx([0.7, 0.7]) and noise.added.tolist() == pytest.approx([0, 0.3])


# --- context -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", (symmetric(4, 0.3), pair_flip(4, 0.3)))
def test_no_label_vouches_for_itself_nor_for_a_class_that_it_may_have_come_from(noise):
    model = InContext(3, heard(Noise(noise)), 5, 0.0, 0.0).eval().requires_grad_(False)
    torch.nn.init.normal_(model.others.weight)
    inputs = torch.randn(6, 7)
    even = torch.allclose(noise, symmetric(4, 0.3))
    for j in range(4):
        changed = inputs.clone()
        changed[:, 3 + j] += 1
        moved = (model(changed) - model(inputs)).abs().sum(0)
        for k in range(4):
            deaf = k == j or (not even and float(noise[k, j]) > 0)
            assert (float(moved[k]) == 0) == deaf


def test_what_seldom_becomes_a_label_may_hear_it():
    fates = torch.eye(4).double()
    fates[0] = torch.tensor([0.97, 0.024, 0.003, 0.003])
    fates[1] = torch.tensor([0.008, 0.992, 0, 0])  # more than the others of its row, and next to nothing
    assert heard(Noise(fates)).tolist() == [[0, 0, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]
    assert heard(Noise(torch.ones(1, 1).double())).tolist() == [[0]]


def test_trusted_images_get_a_context_like_that_of_the_others():
    labels = torch.rand(4000, SIZE, generator=torch.Generator().manual_seed(0)) < 0.3
    labels[0] = True
    trusted = torch.arange(4000) < 2000
    context = as_noisy(labels, trusted, Noise(symmetric(SIZE, 0.4)), 0)
    assert torch.equal(context[2000:], labels[2000:]) and context[0].all()
    assert float((labels & ~context)[1:2000].sum() / labels[1:2000].sum()) == pytest.approx(0.4, abs=0.01)


# --- words ---------------------------------------------------------------------------------------------------------


def rates(low: float, estimate: float, high: float, size: int = 3) -> Rates:
    return Rates(*(torch.full((size,), value, dtype=torch.float64) for value in (estimate, low, high)))


def test_more_images_are_asked_for_where_the_interval_is_wide():
    own = torch.tensor([[1, 1, 0]]).bool().expand(10, 3)
    narrow, wide = rates(0.1, 0.2, 0.3), rates(0.0, 0.3, 0.6)
    assert intervals.more_images(narrow, own).tolist() == [0, 0, 0]
    assert intervals.more_images(wide, own).tolist() == [30, 30, 4]  # half the width takes four times as many


def test_advice_names_the_classes_and_says_what_is_lost_without_trusted_images():
    files, labels = tuple(Path(f"{n}.png") for n in range(40)), torch.tensor([[1, 1, 0]]).bool().expand(40, 3)
    some = Dataset("mine", ("cat", "dog", "eel"), files, labels, trusted=torch.arange(40) < 30)
    said = intervals.advice(some, rates(0.0, 0.3, 0.6), rates(0.1, 0.2, 0.3))
    assert said[0] == "No trusted image shows eel: what is said of them is borrowed from the other classes."
    assert "The rates of 3 classes are uncertain by more than 15%" in said[1] and "cat (90 more)" in said[1]
    (alone,) = intervals.advice(replace(some, trusted=None), *[rates(0, 0, 0)] * 2)
    assert alone.startswith("There are no trusted images") and "noisy labels alone" in alone
    (few,) = intervals.advice(replace(some, trusted=torch.arange(40) < 5), *[rates(0, 0, 0)] * 2)
    assert "only 5 trusted images" in few
