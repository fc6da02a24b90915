"""Mixup: inputs and losses are mixed by the same share, and trust stays with the labels it belongs to."""

import pytest
import torch

from galc.methods.objectives import Task, corrected, plain
from galc.training.batch import Batch
from galc.training.mixup import mixed

K = 4


def batch(n: int = 6) -> tuple[torch.Tensor, Batch]:
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(n, K, generator=generator) < 0.4).float()
    return torch.randn(n, 5, generator=generator), Batch(targets, torch.arange(n) % 3 == 0, torch.arange(n), 1)


def draw(seed: int, concentration: float, n: int) -> tuple[float, torch.Tensor]:
    """The share and the partners that `mixed` draws next."""
    torch.manual_seed(seed)
    share = float(torch.distributions.Beta(concentration, concentration).sample())
    return share, torch.randperm(n)


def test_nothing_is_mixed_nor_drawn_at_0():
    inputs, _ = batch()
    loss = plain("asl")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert mixed(inputs, loss, 0.0) == (inputs, loss)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["asl", "bce"])
def test_a_loss_that_is_linear_in_its_targets_is_that_of_the_mixed_targets(name):
    inputs, labels = batch()
    share, partner = draw(3, 0.4, 6)
    torch.manual_seed(3)
    mixture, loss = mixed(inputs, plain(name), 0.4)
    for n, other in enumerate(partner.tolist()):
        torch.testing.assert_close(mixture[n], share * inputs[n] + (1 - share) * inputs[other])
    logits = torch.randn(6, K)
    targets = share * labels.targets + (1 - share) * labels.targets[partner]
    expected = plain(name)(logits, Batch(targets, labels.trusted, labels.rows, 1))
    torch.testing.assert_close(loss(logits, labels), expected)


def test_each_side_of_a_pair_is_corrected_or_trusted_by_its_own_flag():
    inputs, labels = batch()
    matrix = torch.full((K, K), 0.1) + 0.6 * torch.eye(K)
    own = corrected("forward-bce", Task(matrix, loss="bce"))
    share, partner = draw(5, 1.0, 6)
    torch.manual_seed(5)
    _, loss = mixed(inputs, own, 1.0)
    logits, total = torch.randn(6, K), 0.0
    for n, other in enumerate(partner.tolist()):
        for weight, image in ((share, n), (1 - share, other)):
            one = Batch(labels.targets[[image]], labels.trusted[[image]], labels.rows[[image]], 1)
            total += weight * own(logits[[n]], one) / 6
    torch.testing.assert_close(loss(logits, labels), total)


def test_shares_are_beta_distributed():
    inputs = torch.tensor([[0.0], [1.0]])
    torch.manual_seed(0)
    shares = torch.cat([mixed(inputs, plain("bce"), 0.3)[0] for _ in range(4000)])
    shares = shares[(shares > 0) & (shares < 1)]  # the pairs of an image with itself left out
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(0.25 / (2 * 0.3 + 1), rel=0.06)  # ab / ((a + b)^2 (a + b + 1))
