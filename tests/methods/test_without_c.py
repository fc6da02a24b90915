"""Early-learning regularisation: the memory of every image, the formula, and the pull of what was learnt early."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from galc.methods.without_c import EarlyLearning
from galc.training.batch import Batch

N, K = 9, 4


def its(rows: list[int], seed: int = 0, epoch: int = 1) -> tuple[torch.Tensor, Batch]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(len(rows), K, generator=generator)
    targets = (torch.rand(len(rows), K, generator=generator) < 0.4).float()
    return logits, Batch(targets, torch.zeros(len(rows), dtype=torch.bool), torch.tensor(rows), epoch)


def test_the_loss_is_the_literal_formula_over_any_sequence_of_visits():
    loss = EarlyLearning(N, K, strength=2.0 * K, momentum=0.7)
    memory = {(n, k, side): 0.0 for n in range(N) for k in range(K) for side in (0, 1)}
    for step, rows in enumerate(([3, 0, 8], [8, 1], [3, 8, 5])):
        logits, batch = its(rows, step)
        got = loss(logits, batch)
        for at, n in enumerate(rows):
            for k in range(K):
                p = min(max(1 / (1 + math.exp(-logits[at, k].item())), 1e-4), 1 - 1e-4)
                for side, now in ((1, p), (0, 1 - p)):
                    memory[n, k, side] = 0.7 * memory[n, k, side] + 0.3 * now
                agreement = p * memory[n, k, 1] + (1 - p) * memory[n, k, 0]
                label = p if batch.targets[at, k] else 1 - p
                assert got[at, k].item() == pytest.approx(-math.log(label) + 2 * math.log(1 - agreement), abs=1e-4)
    assert not loss.present[[2, 4, 6, 7]].any()  # images that were not met


def test_without_strength_it_is_cross_entropy():
    logits, batch = its([0, 1, 2])
    expected = binary_cross_entropy_with_logits(logits, batch.targets, reduction="none")
    torch.testing.assert_close(EarlyLearning(N, K, strength=0.0)(logits, batch), expected)


def test_a_label_that_contradicts_what_the_model_used_to_say_loses_its_pull():
    slopes = []
    for strength in (0.0, 3.0):
        loss = EarlyLearning(1, 1, strength)
        label = Batch(torch.ones(1, 1), torch.zeros(1, dtype=torch.bool), torch.zeros(1, dtype=torch.long), 1)
        for _ in range(20):  # the model has long said: absent
            loss(torch.tensor([[-3.0]]), label)
        x = torch.tensor([[-1.0]], requires_grad=True)  # and begins to give in
        slopes.append(torch.autograd.grad(loss(x, label).sum(), x)[0].item())
    assert slopes[0] < -0.7 and slopes[1] > slopes[0] + 0.5


def test_memories_are_state_and_carry_no_gradient():
    loss = EarlyLearning(N, K)
    logits, batch = its([0, 1])
    loss(logits.requires_grad_(), batch).sum().backward()
    assert set(loss.state_dict()) == {"present", "absent"} and not loss.present.requires_grad
    again = EarlyLearning(N, K)
    again.load_state_dict(loss.state_dict())
    torch.testing.assert_close(again(*its([0, 1], 1)), loss(*its([0, 1], 1)))


def test_values_and_slopes_are_finite_for_extreme_logits():
    loss = EarlyLearning(5, 1)
    x = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4])[:, None].requires_grad_()
    batch = Batch(torch.ones(5, 1), torch.zeros(5, dtype=torch.bool), torch.arange(5), 1)
    for _ in range(50):
        value = loss(x, batch)
    assert torch.isfinite(value).all() and torch.isfinite(torch.autograd.grad(value.sum(), x)[0]).all()
