"""Posterior labels that the model in training revises: what changes, when, by which rule, and what never does."""

import pytest
import torch
from host import NothingReadBack

from galc import noise
from galc.estimators.label_sets import LabelSets
from galc.losses.asl import calibrate_logits
from galc.methods.base import ASL
from galc.methods.galc_plus import Refined
from galc.noise import Noise
from galc.noise.draw import inject
from galc.training.batch import Batch

N, K = 40, 5


@pytest.fixture
def case():
    """A loss, and the logits of a model that is the same in every epoch."""
    generator = torch.Generator().manual_seed(3)
    clean = torch.rand(N, K, generator=generator) < 0.4
    clean[:, 0] |= ~clean.any(1)
    clean[:, 1] &= ~clean.all(1)
    model = Noise(noise.symmetric(K, 0.3))
    noisy = inject(clean, model.transition, 0)
    trusted = torch.arange(N) < 8
    noisy[trusted] = clean[trusted]
    q = torch.where(clean, 0.8, 0.1)
    targets = torch.where(trusted[:, None], clean.float(), LabelSets(q, noisy).posterior(model))
    logits = torch.randn(N, K, generator=generator) * 2
    return {"args": (ASL, model, q, noisy, targets, trusted), "logits": logits, "noisy": noisy, "targets": targets,
            "trusted": trusted, "q": q, "model": model}  # fmt: skip


def epoch(loss: Refined, case: dict, number: int, logits=None) -> torch.Tensor:
    """The loss of one epoch, all images in one batch."""
    rows = torch.arange(N)
    batch = Batch(case["targets"], case["trusted"], rows, number)
    return loss(case["logits"] if logits is None else logits, batch)


def test_it_is_the_plain_loss_of_the_posterior_labels_before_anything_was_learned(case):
    value = epoch(Refined(*case["args"]), case, 1)
    torch.testing.assert_close(value, ASL(case["logits"], case["targets"]).sum(1).mean())


def test_targets_stay_as_they_are_until_the_first_epoch_of_revision(case):
    loss = Refined(*case["args"], first_epoch=4)
    for number in (1, 2, 3):
        epoch(loss, case, number)
        assert torch.equal(loss.targets, case["targets"])
    epoch(loss, case, 4)
    assert not torch.allclose(loss.targets, case["targets"])


def test_trusted_labels_never_change_and_always_count(case):
    loss = Refined(*case["args"])
    for number in range(1, 15):
        epoch(loss, case, number)
    trusted = case["trusted"]
    assert torch.equal(loss.targets[trusted], case["targets"][trusted])
    logits = case["logits"].clone().requires_grad_()
    epoch(loss, case, 15, logits).backward()
    alone = case["logits"].clone().requires_grad_()
    (ASL(alone, case["targets"]).sum() / N).backward()
    torch.testing.assert_close(logits.grad[trusted], alone.grad[trusted])


def test_a_revised_target_is_bayes_rule_with_the_mean_of_the_two_log_odds(case):
    loss = Refined(*case["args"])
    for number in (1, 2, 3):
        epoch(loss, case, number)
    log_odds = torch.logit(case["q"]) / 2 + calibrate_logits(case["logits"]) / 2
    expected = LabelSets(log_odds.sigmoid(), case["noisy"]).posterior(case["model"], rounds=4)
    noisy = ~case["trusted"]
    torch.testing.assert_close(loss.targets[noisy], expected[noisy], atol=1e-4, rtol=1e-3)


def test_without_a_say_of_the_model_the_targets_are_those_of_q(case):
    loss = Refined(*case["args"], own=0.0)
    for number in range(1, 6):
        epoch(loss, case, number)
    expected = LabelSets(case["q"], case["noisy"]).posterior(case["model"], rounds=4)
    torch.testing.assert_close(loss.targets[~case["trusted"]], expected[~case["trusted"]], atol=1e-4, rtol=1e-3)


def test_each_epoch_has_half_the_weight_of_the_next_in_what_the_model_says(case):
    loss = Refined(*case["args"])
    said = [case["logits"] * scale for scale in (1.0, -2.0, 0.5)]
    for number, logits in enumerate(said, 1):
        epoch(loss, case, number, logits)
    torch.testing.assert_close(loss.outputs, said[0] / 4 + said[1] / 4 + said[2] / 2)


def test_labels_of_largest_loss_teach_nothing_once_selected(case):
    loss = Refined(*case["args"])
    for number in range(1, 13):
        epoch(loss, case, number)
    left_out = ~loss.doubt.keep
    assert left_out.any() and not left_out[case["trusted"]].any()
    logits = case["logits"].clone().requires_grad_()
    epoch(loss, case, 13, logits).backward()
    left_out = ~loss.doubt.keep
    assert (logits.grad[left_out] == 0).all() and (logits.grad[~left_out] != 0).any()


def test_nothing_is_left_out_where_there_is_no_noise(case):
    args = list(case["args"])
    args[1] = Noise(torch.eye(K))
    loss = Refined(*args)
    for number in range(1, 13):
        epoch(loss, case, number)
    assert loss.doubt.keep.all()
    torch.testing.assert_close(loss.targets, case["noisy"].float(), atol=1e-3, rtol=0)


def test_a_loss_restored_from_its_state_goes_on_as_if_never_stopped(case):
    whole, first = Refined(*case["args"]), Refined(*case["args"])
    for number in range(1, 6):
        epoch(whole, case, number)
        epoch(first, case, number)
    restored = Refined(*case["args"])
    restored.load_state_dict(first.state_dict())
    for number in range(6, 10):
        assert epoch(restored, case, number) == epoch(whole, case, number)
    assert torch.equal(restored.targets, whole.targets)


def test_an_image_the_model_has_not_seen_keeps_its_target(case):
    loss = Refined(*case["args"])
    seen = torch.arange(N) != N - 1
    for number in (1, 2, 3):
        rows = seen.nonzero()[:, 0]
        loss(case["logits"][rows], Batch(case["targets"][rows], case["trusted"][rows], rows, number))
    assert torch.equal(loss.targets[~seen], case["targets"][~seen]) and loss.doubt.keep[~seen].all()


def test_outputs_that_are_not_finite_are_told_by_the_loss_and_not_by_a_later_step(case):
    loss = Refined(*case["args"])
    logits = case["logits"].clone()
    logits[20, 2] = torch.nan
    assert not torch.isfinite(epoch(loss, case, 1, logits))


def test_a_step_within_an_epoch_reads_nothing_back_from_the_device(case):
    loss = Refined(*case["args"])
    logits = case["logits"].clone().requires_grad_()
    for number in (1, 2, 3, 4):
        epoch(loss, case, number)  # the first step of an epoch revises
        with NothingReadBack():
            epoch(loss, case, number, logits).backward()
