"""Each kind of noise is what its name says, at the rate that was asked for, and the same for the same seed."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galc.noise import Noise, changes
from galc.noise.kinds import KINDS, MOST, Request, make, noise_kind

K = 12
GROUPS = ("a", "a", "a", "b", "b", "c", "c", "c", "c", "alone", "", "")


def request(rate=0.3, seed=0, n=600, groups=GROUPS) -> Request:
    generator = torch.Generator().manual_seed(7)
    frequency = torch.linspace(0.5, 0.02, K)  # from frequent to rare
    labels = torch.rand(n, K, generator=generator) < frequency
    labels[labels.sum(1) == K, 0] = False
    scores = torch.rand(n, K, generator=generator) * 0.5 + 0.4 * labels
    return Request(labels, rate, groups, seed, lambda: scores)


@pytest.mark.parametrize("kind", KINDS)
@given(rate=st.sampled_from([0.05, 0.2, 0.4, 0.6]), seed=st.integers(0, 2**31))
def test_a_share_rate_is_gone_a_share_rate_is_wrong_or_both(kind, rate, seed):
    asked = request(rate, seed)
    model = make(kind, asked)
    wanted = {"missing": (rate, 0), "additional": (0, rate)}.get(kind, (rate, rate))
    expected = model.expected(asked.labels)
    assert (expected.labels_removed, expected.labels_added) == pytest.approx(wanted, abs=1e-9)
    assert model.nature == KINDS[kind].nature
    if kind in ("missing", "additional", "missing-additional"):  # nothing stands in the way of these
        done = changes(asked.labels, model.inject(asked.labels, seed).noisy)
        assert (done.lost - expected.lost).abs().max() < 1 and (done.gained - expected.gained).abs().max() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_no_noise_is_none(kind):
    first, again, other = (make(kind, request(seed=seed)) for seed in (3, 3, 4))
    same = [torch.equal(a, b) for a, b in ((first.fate, again.fate), (first.added, again.added))]
    assert all(same)
    if kind in ("class-dependent", "missing-additional"):  # whose rates are drawn
        assert not torch.equal(first.fate, other.fate)
    nothing = make(kind, request(0.0))
    assert torch.equal(nothing.transition, torch.eye(K).double()) and nothing.keeps_count and not nothing.flips


@pytest.mark.parametrize("kind", KINDS)
def test_other_classes_in_another_order_get_their_own_noise(kind):
    """Nothing but the drawn rates depends on where a class stands."""
    if kind in ("class-dependent", "missing-additional", "pair"):
        return
    asked, order = request(), torch.randperm(K, generator=torch.Generator().manual_seed(1))
    moved = dataclasses.replace(
        asked,
        labels=asked.labels[:, order],
        groups=tuple(GROUPS[k] for k in order),
        scores=lambda: asked.scores()[:, order],
    )
    first, second = make(kind, asked), make(kind, moved)
    torch.testing.assert_close(second.transition, first.transition[order][:, order])
    torch.testing.assert_close(second.removed, first.removed[order])
    torch.testing.assert_close(second.added, first.added[order])


def test_semantic_noise_stays_in_the_group_and_goes_anywhere_from_a_class_alone():
    matrix = make("semantic", request(0.3)).transition
    torch.testing.assert_close(matrix[0, :4], torch.tensor([0.7, 0.15, 0.15, 0.0]).double())
    torch.testing.assert_close(matrix[3, :6], torch.tensor([0.0, 0, 0, 0.7, 0.3, 0]).double())
    for k in (9, 10, 11):  # alone, or of no group
        torch.testing.assert_close(matrix[k], torch.full((K,), 0.3 / 11).double().index_fill_(0, torch.tensor(k), 0.7))


def test_semantic_noise_without_groups_is_refused():
    with pytest.raises(ValueError, match=r"no two classes share one; name a 'supercategory'"):
        make("semantic", request(groups=("",) * K))
    with pytest.raises(ValueError, match="no two classes share one"):
        make("semantic", request(groups=tuple(f"group {k}" for k in range(K))))


@given(seed=st.integers(0, 2**31), rate=st.sampled_from([0.05, 0.3, 0.6, 0.9]))
def test_class_dependent_noise_has_three_even_targets_and_rates_of_its_own(seed, rate):
    model = make("class-dependent", request(rate, seed))
    off = model.transition - torch.diag(model.transition.diagonal())
    assert ((off > 0).sum(1) == 3).all()
    rates = 1 - model.transition.diagonal()
    torch.testing.assert_close(off.max(1).values, rates / 3)
    assert rates.max() <= MOST + 1e-12 and rates.std() > 0


def test_class_dependent_noise_of_few_classes_takes_what_targets_there_are():
    labels = torch.tensor([[True, False], [False, True]])
    matrix = make("class-dependent", Request(labels, 0.3, ("", ""), 0)).transition
    torch.testing.assert_close(matrix[0, 1] + matrix[1, 0], torch.tensor(0.6).double())


def test_additional_labels_follow_the_classes_frequencies():
    asked = request(0.266)
    added = make("additional", asked).added
    torch.testing.assert_close(added / asked.counts, (added / asked.counts)[0].expand(K))


def test_missing_and_additional_rates_of_a_class_are_independent():
    found = []
    for seed in range(200):
        model = make("missing-additional", request(seed=seed))
        found.append([model.removed[0], (model.added / model.added.sum())[0]])
    assert abs(np.corrcoef(np.array(found).T)[0, 1]) < 0.2


def test_more_wrong_labels_than_there_is_room_for_are_refused():
    labels = torch.eye(3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"mean rate of 4\.5 is out of reach: at most 1\.000 here; lower the noise"):
        make("additional", Request(labels, 0.9, ("",) * 3, 0))


def test_a_kind_without_a_name_a_rate_or_scores_is_refused():
    with pytest.raises(ValueError, match="no noise kind 'odd'; choose one of symmetric, pair"):
        make("odd", request())
    with pytest.raises(ValueError, match="below 1, got 1"):
        request(1)
    with pytest.raises(ValueError, match="needs the scores of a weak classifier"):
        make("instance-dependent", dataclasses.replace(request(), scores=None))


def test_a_kind_of_one_s_own_is_one_decorated_function(monkeypatch):
    monkeypatch.setattr("galc.noise.kinds.KINDS", dict(KINDS))

    @noise_kind("to-the-first", nature="targets")
    def to_the_first(asked: Request) -> Noise:
        matrix = (1 - asked.rate) * torch.eye(K)
        matrix[:, 0] += asked.rate
        return Noise(matrix)

    assert make("to-the-first", request(0.25)).transition[3, 0] == 0.25
