"""T-revision: the forward correction until it learns, a transition matrix always, and nearer to the truth after."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from galc.checks import check_transition
from galc.estimators.base import Estimate, matrix_error
from galc.losses.forward import ForwardBCE
from galc.methods.base import BCE, METHODS, Corrected, by_matrix
from galc.methods.t_revision import TRevision
from galc.noise import pair_flip, symmetric
from galc.noise.draw import inject
from galc.training.batch import Batch, TrainingSet
from galc.training.loop import Recipe, fit

K = 5


def training(n: int = 1500) -> TrainingSet:
    """Images that show their labels, of which 40 % were flipped; a linear model can tell them."""
    generator = torch.Generator().manual_seed(0)
    rank = torch.rand(n, K, generator=generator).argsort(1).argsort(1)
    clean = rank < torch.randint(1, 3, (n, 1), generator=generator)
    trusted = torch.arange(n) % 3 == 0
    noisy = torch.where(trusted[:, None], clean, inject(clean, symmetric(K, 0.4), 0)).float()
    inputs = 2 * clean.float() - 1 + 0.1 * torch.randn(n, K, generator=generator)
    return TrainingSet(inputs, torch.arange(n), noisy, trusted)


def trained(loss: nn.Module, epochs: int = 3) -> torch.Tensor:
    torch.manual_seed(0)
    model = nn.Linear(K, K)
    fit(model, training(), loss, Recipe(epochs=epochs, learning_rate=0.05), 0)
    return model.weight.detach()


def row(transition: torch.Tensor, epochs: int = 3) -> nn.Module:
    """The loss of the method for a training of so many epochs."""
    stages = SimpleNamespace(params=SimpleNamespace(epochs=epochs))
    return METHODS["t-revision"].training(stages, Estimate(transition), training())[1]


@pytest.mark.parametrize("transition", [symmetric(K, 0.3), pair_flip(K, 0.4), torch.eye(K)])
def test_before_it_learns_it_is_the_forward_correction(transition):
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(7, K, generator=generator), (torch.rand(7, K, generator=generator) < 0.4).float()
    batch = Batch(targets, torch.zeros(7, dtype=torch.bool), torch.arange(7), 1)
    losses = TRevision(transition, 4)(logits, batch)
    expected = ForwardBCE(transition.float(), reduction="none")(logits, targets)
    torch.testing.assert_close(losses, expected, atol=1e-5, rtol=1e-4)


def test_a_slack_that_does_not_learn_trains_the_same_model_as_the_forward_correction():
    held = row(symmetric(K, 0.3))
    held.noisy.slack.requires_grad_(False)
    forward = trained(Corrected(BCE, by_matrix(ForwardBCE, Estimate(symmetric(K, 0.3)))))
    torch.testing.assert_close(trained(held), forward, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(trained(row(symmetric(K, 0.3))), forward, atol=1e-2)


def test_learning_moves_a_wrong_matrix_towards_the_true_one():
    loss = row(symmetric(K, 0.1), 20)
    trained(loss, epochs=20)
    before, after = (matrix_error(c, symmetric(K, 0.4)) for c in (symmetric(K, 0.1), loss.noisy.revised().detach()))
    assert after["row_l1"] < before["row_l1"] / 2 and after["diagonal"] < before["diagonal"] / 2


def test_it_learns_only_after_half_of_the_epochs():
    loss = row(symmetric(K, 0.1), 4)
    trained(loss, epochs=2)
    assert not loss.noisy.slack.any()
    trained(loss, epochs=3)
    assert loss.noisy.slack.all()


@given(seed=st.integers(0, 2**31), scale=st.floats(0, 10))
def test_the_revised_matrix_is_a_transition_matrix_whatever_the_slack(seed, scale):
    loss = TRevision(pair_flip(K, 0.4), 4)
    with torch.no_grad():
        loss.slack.copy_(scale * torch.randn(K, K, generator=torch.Generator().manual_seed(seed)))
    check_transition(loss.revised(), K)


def test_a_step_moves_as_much_mass_off_the_diagonal_as_on_it_and_wakes_entries_that_are_zero():
    loss = TRevision(torch.eye(K), 4)
    loss.revised()[0, 1].backward()
    assert loss.slack.grad[0, 1] > 0
    assert loss.unit.diagonal().tolist() == [1.0] * K
    torch.testing.assert_close(loss.unit.sum(1), torch.full((K,), 2.0))


def test_its_state_is_the_slack_and_a_bad_matrix_is_refused():
    loss = TRevision(symmetric(K, 0.4), 4)
    assert [name for name, _ in loss.named_parameters()] == ["slack"]
    assert {"slack", "transition"} <= set(loss.state_dict())
    with pytest.raises(ValueError, match="does not sum to at most 1"):
        TRevision(torch.ones(K, K), 4)
