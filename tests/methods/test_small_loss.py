"""Small-loss selection: how many labels are left out of each class, which ones, and from when on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from galc import noise
from galc.methods.small_loss import SmallLoss, largest, wrong_shares
from galc.noise.draw import inject, observed
from galc.training.batch import Batch

K = 6


def bce(logits, targets):
    return binary_cross_entropy_with_logits(logits, targets, reduction="none")


def noisy_set(transition: torch.Tensor, n: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and noisy labels of images with a frequent class and rare ones."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.tensor([0.5, 0.3, 0.2, 0.1, 0.05, 0.03])
    clean = torch.rand(n, K, generator=generator) < frequency
    return clean, inject(clean, transition, 0)


@pytest.mark.parametrize("transition", [noise.symmetric(K, 0.4), noise.pair_flip(K, 0.3), torch.eye(K)])
def test_the_shares_of_wrong_and_lost_labels_are_those_of_a_noisy_set(transition):
    clean, noisy = noisy_set(transition)
    count, c = (
        len(clean),
        observed(clean, noisy),
    )  # flips onto present labels are not drawn: the C that they really had
    wrong, lost = wrong_shares(noisy.float().mean(0), c)
    torch.testing.assert_close(wrong, (noisy & ~clean).sum(0) / noisy.sum(0), atol=0.02, rtol=0)
    torch.testing.assert_close(lost, (clean & ~noisy).sum(0) / (count - noisy.sum(0)), atol=0.02, rtol=0)


def test_removed_and_added_labels_are_counted_too():
    clean, _ = noisy_set(torch.eye(K))
    generator = torch.Generator().manual_seed(1)
    gone = torch.rand(clean.shape, generator=generator) < 0.3
    new = torch.rand(clean.shape, generator=generator) < 0.08
    noisy = (clean & ~gone) | (~clean & new)
    wrong, lost = wrong_shares(noisy.float().mean(0), 0.7 * torch.eye(K), torch.full((K,), 0.08))
    torch.testing.assert_close(wrong, (noisy & ~clean).sum(0) / noisy.sum(0), atol=0.03, rtol=0)
    torch.testing.assert_close(lost, (clean & ~noisy).sum(0) / (~noisy).sum(0), atol=0.01, rtol=0)


def test_rare_classes_have_mostly_wrong_labels_under_symmetric_noise():
    _, noisy = noisy_set(noise.symmetric(K, 0.4))
    wrong, _ = wrong_shares(noisy.float().mean(0), noise.symmetric(K, 0.4))
    assert wrong[0] < 0.25 and wrong[-1] > 0.6 and (wrong.diff() > 0).all()


def test_a_class_without_labels_has_no_wrong_ones():
    wrong, lost = wrong_shares(torch.tensor([0.5, 0.0]), torch.tensor([[0.9, 0.1], [0.0, 1.0]]))
    assert torch.isfinite(wrong).all() and torch.isfinite(lost).all() and wrong[1] == lost[1] == 0


@given(seed=st.integers(0, 1000))
def test_the_largest_are_the_largest_of_each_column(seed):
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(17, 3, generator=generator)
    among = torch.rand(17, 3, generator=generator) < 0.6
    share = torch.tensor([0.0, 0.3, 1.0])
    got = largest(losses, among, share)
    for k in range(3):
        candidates = sorted(((losses[n, k].item(), n) for n in range(17) if among[n, k]), reverse=True)
        wanted = {n for _, n in candidates[: int(share[k] * len(candidates) + 1e-6)]}
        assert set(got[:, k].nonzero()[:, 0].tolist()) == wanted


def one_class(n: int = 40, trusted: int = 10) -> Batch:
    """One class; half of the images have its label; the last ones are trusted."""
    targets = (torch.arange(n) % 2 == 0).float()[:, None].repeat(1, 2)
    return Batch(targets, torch.arange(n) >= n - trusted, torch.arange(n), 1)


def at(batch: Batch, epoch: int) -> Batch:
    return Batch(batch.targets, batch.trusted, batch.rows, epoch)


def test_labels_with_a_large_loss_in_the_epoch_before_do_not_count():
    batch, transition = one_class(), torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    loss = SmallLoss(bce, transition, 40, 2, ramp=1)
    logits = torch.linspace(-3, 3, 40)[:, None].repeat(1, 2)
    torch.testing.assert_close(loss(logits, batch), bce(logits, batch.targets))  # the first epoch takes all
    now = loss(-logits, at(batch, 2))
    before, noisy, present = bce(logits, batch.targets), ~batch.trusted, batch.targets[:, 0] > 0
    wrong, lost = wrong_shares(torch.full((2,), 0.5), transition)
    for labels, share in ((present & noisy, wrong[0]), (~present & noisy, lost[0])):
        out = labels.nonzero()[:, 0][before[labels, 0].argsort(descending=True)][: int(share * labels.sum())]
        assert len(out) > 2 and not now[out].any()
        kept = labels.clone().index_fill(0, out, False)
        torch.testing.assert_close(now[kept], bce(-logits, batch.targets)[kept])
    assert (now[batch.trusted] > 0).all()  # trusted labels always count


def test_the_share_grows_over_the_ramp():
    batch = one_class(2000, 0)
    loss = SmallLoss(bce, torch.tensor([[0.6, 0.4], [0.4, 0.6]]), 2000, 2, ramp=4)
    logits, out = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)), []
    for epoch in range(1, 8):
        loss(logits, at(batch, epoch))
        out.append((~loss.keep).float().mean().item())
    assert out[0] == 0 and out[1:4] == pytest.approx([out[4] / 4, out[4] / 2, out[4] * 3 / 4], abs=0.01)
    assert out[4] == out[5] == out[6] == pytest.approx(0.4, abs=0.01)  # C holds 40 % of each side wrong


def test_with_the_identity_nothing_is_left_out():
    batch, loss = one_class(), SmallLoss(bce, torch.eye(2), 40, 2, ramp=1)
    logits = torch.randn(40, 2)
    for epoch in (1, 2, 3):
        torch.testing.assert_close(loss(logits, at(batch, epoch)), bce(logits, batch.targets))


def test_the_selection_is_state_and_goes_on_from_it():
    batch = one_class()
    first, second = (SmallLoss(bce, torch.tensor([[0.6, 0.4], [0.4, 0.6]]), 40, 2, ramp=1) for _ in range(2))
    first(torch.linspace(-3, 3, 40)[:, None].repeat(1, 2), batch)
    first(torch.zeros(40, 2), at(batch, 2))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(torch.ones(40, 2), at(batch, 2)), first(torch.ones(40, 2), at(batch, 2)))
    assert second.epoch == 2 and not second.keep.all()


def test_images_that_were_never_seen_count_whole():
    loss = SmallLoss(bce, torch.tensor([[0.6, 0.4], [0.4, 0.6]]), 60, 2, ramp=1)
    loss(torch.randn(40, 2), one_class(trusted=0))
    loss.select(2)
    assert loss.keep[40:].all() and not loss.keep[:40].all()
