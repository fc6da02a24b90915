"""Training sets and their batches: what belongs together stays together, mixed or not."""

import pytest
import torch

from galc.estimators.base import Estimate
from galc.losses.forward import ForwardBCE
from galc.methods.base import ASL, BCE, Corrected, by_matrix, plain
from galc.training.batch import Batch, TrainingSet, mixed


def its(n: int = 9) -> TrainingSet:
    targets = torch.arange(3.0 * n).reshape(n, 3) / (3 * n)
    return TrainingSet(torch.randn(20, 4), torch.arange(n) * 2, targets, torch.arange(n) % 2 == 0)


def test_a_batch_holds_the_labels_of_its_rows():
    rows = torch.tensor([5, 0, 8])
    batch = its().batch(rows, 4)
    assert torch.equal(batch.rows, rows) and batch.epoch == 4
    assert torch.equal(batch.targets, its().targets[rows])
    assert batch.trusted.tolist() == [False, True, True]


def test_a_part_of_a_batch_keeps_rows_labels_and_trust_together():
    batch = Batch(torch.eye(3), torch.tensor([True, False, False]), torch.tensor([7, 4, 9]), 2)
    part = batch.take(torch.tensor([2, 0]))
    assert part.rows.tolist() == [9, 7] and part.trusted.tolist() == [False, True] and part.epoch == 2
    assert torch.equal(part.targets, torch.eye(3)[[2, 0]])


def test_a_part_of_a_training_set_shares_its_inputs():
    whole = its()
    part = whole.take(torch.tensor([3, 1]))
    assert part.inputs is whole.inputs and part.index.tolist() == [6, 2] and not part.trusted.any()
    assert torch.equal(part.targets, whole.targets[[3, 1]])


# --- mixup ------------------------------------------------------------


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
    loss = plain(ASL)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert mixed(inputs, loss, 0.0) == (inputs, loss)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("each", [ASL, BCE])
def test_a_loss_that_is_linear_in_its_targets_is_that_of_the_mixed_targets(each):
    inputs, labels = batch()
    share, partner = draw(3, 0.4, 6)
    torch.manual_seed(3)
    mixture, loss = mixed(inputs, plain(each), 0.4)
    for n, other in enumerate(partner.tolist()):
        torch.testing.assert_close(mixture[n], share * inputs[n] + (1 - share) * inputs[other])
    logits = torch.randn(6, K)
    targets = share * labels.targets + (1 - share) * labels.targets[partner]
    expected = plain(each)(logits, Batch(targets, labels.trusted, labels.rows, 1))
    torch.testing.assert_close(loss(logits, labels), expected)


def test_each_side_of_a_pair_is_corrected_or_trusted_by_its_own_flag():
    inputs, labels = batch()
    matrix = torch.full((K, K), 0.1) + 0.6 * torch.eye(K)
    own = Corrected(BCE, by_matrix(ForwardBCE, Estimate(matrix)))
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
    shares = torch.cat([mixed(inputs, plain(BCE), 0.3)[0] for _ in range(4000)])
    shares = shares[(shares > 0) & (shares < 1)]  # the pairs of an image with itself left out
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(0.25 / (2 * 0.3 + 1), rel=0.06)  # ab / ((a + b)^2 (a + b + 1))
