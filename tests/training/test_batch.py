"""Training sets and their batches: what belongs together stays together."""

import torch

from galc.training.batch import Batch, TrainingSet


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
