import hashlib
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from galc.checks import check_transition
from galc.noise import Noise, changes, none, pair_flip, symmetric
from galc.noise.draw import Flips, flip, inject, observed
from galc.store import ROOT

REAL = ROOT.parent / "shared" / "data" / "coco2014_labels" / "train2014.npz"


def random_labels(seed, n=200, k=8, density=0.25):
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) < density


def random_transition(seed, k=8):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.rand(k, k, generator=generator, dtype=torch.float64)
    matrix[torch.rand(k, k, generator=generator) < 0.4] = 0  # rows with few targets
    matrix += torch.eye(k)
    return matrix / matrix.sum(1, keepdim=True)


def without_full_rows(labels):
    labels[labels.all(1), 0] = False
    return labels


cases = given(
    seed=st.integers(0, 2**31),
    k=st.integers(2, 9),
    density=st.sampled_from([0.0, 0.1, 0.4, 0.8]),
    kind=st.sampled_from(["symmetric", "pair", "any"]),
    rate=st.sampled_from([0.0, 0.1, 0.5, 0.6, 1.0]),
)


def case(seed, k, density, kind, rate):
    labels = without_full_rows(random_labels(seed, n=40, k=k, density=density))
    make = {"symmetric": symmetric, "pair": pair_flip, "any": lambda k, rate: random_transition(seed, k)}
    return labels, make[kind](k, rate)


@settings(deadline=None, max_examples=40)
@cases
def test_a_flipped_label_is_never_in_the_clean_set_and_the_count_is_kept(seed, k, density, kind, rate):
    labels, transition = case(seed, k, density, kind, rate)
    before = labels.clone()
    flips = flip(labels, transition, seed)
    assert torch.equal(labels, before)
    assert torch.equal(flips.noisy.sum(1), labels.sum(1))
    assert labels[flips.image, flips.source].all() and not labels[flips.image, flips.target].any()
    assert (transition[flips.source, flips.target] > 0).all()
    added = torch.stack([flips.image, flips.target], 1)
    assert len(added.unique(dim=0)) == len(added)  # none was added twice
    rebuilt = labels.clone()
    rebuilt[flips.image, flips.source] = False
    rebuilt[flips.image, flips.target] = True
    assert torch.equal(rebuilt, flips.noisy)


@settings(deadline=None, max_examples=40)
@cases
def test_flips_are_as_many_as_asked_for_unless_no_label_can_move_any_more(seed, k, density, kind, rate):
    labels, transition = case(seed, k, density, kind, rate)
    flips = flip(labels, transition, seed)
    wanted = round(round(((1 - transition.diagonal()) * labels.sum(0)).sum().item(), 6))
    assert flips.requested == wanted and len(flips.image) <= wanted
    if kind == "symmetric" and len(flips.image) < wanted:
        left = labels & flips.noisy  # every image that kept a label is full: no class is free
        assert ((labels | flips.noisy).all(1) | ~left.any(1)).all()


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.4, 0.5, 0.6])
def test_symmetric_noise_flips_the_exact_fraction(rate):
    for n in (1, 7, 25, 101):
        labels = random_labels(n, n=n, k=12)
        kept = (labels & inject(labels, symmetric(12, rate), seed=n)).sum()
        assert labels.sum() - kept == round(round(rate * int(labels.sum()), 6))


def test_symmetric_flips_are_uniform_over_labels_and_over_absent_classes():
    labels = torch.zeros(3000, 6, dtype=torch.bool)
    labels[:, :2] = True
    labels[2000:, 2] = True
    flips = flip(labels, symmetric(6, 0.3), seed=5)
    share = torch.bincount(flips.source, minlength=6)[:3] / torch.tensor([3000.0, 3000.0, 1000.0])
    assert (share - 0.3).abs().max() < 0.05
    early = flips.image < 2000
    counts = torch.bincount(flips.target[early], minlength=6)[2:].double()
    assert (counts / counts.sum() - 0.25).abs().max() < 0.03


def test_targets_follow_the_row_restricted_to_absent_classes():
    transition = torch.eye(5, dtype=torch.float64)
    transition[0] = torch.tensor([0.2, 0.4, 0.2, 0.1, 0.1])
    labels = torch.zeros(4000, 5, dtype=torch.bool)
    labels[:, 0] = labels[:, 1] = True  # class 1 is there: the rest of the row is 2 : 1 : 1
    flips = flip(labels, transition, seed=0)
    assert len(flips.image) == 3200 and (flips.source == 0).all()
    share = torch.bincount(flips.target, minlength=5) / 3200
    assert (share - torch.tensor([0, 0, 0.5, 0.25, 0.25])).abs().max() < 0.03


def test_a_second_flip_in_an_image_avoids_the_first_ones_target():
    labels = torch.tensor([[True, True, False, False]]).expand(500, 4)
    noisy = inject(labels, symmetric(4, 1.0), seed=0)
    assert torch.equal(noisy, ~labels)


def test_realised_rates_come_near_the_matrix():
    labels = random_labels(0, n=20_000, k=10, density=0.15)
    transition = random_transition(1, k=10)
    flips = flip(labels, transition, seed=2)
    error = observed(labels, flips) - transition
    assert error.diagonal().abs().max() < 0.03
    assert error.abs().max() < 0.12  # the rule against present classes bends the off-diagonal


def test_pair_flip_onto_a_present_class_passes_to_another_label_of_the_class():
    labels = torch.zeros(10, 3, dtype=torch.bool)
    labels[:, 0] = True
    labels[:6, 1] = True  # class 0 cannot become class 1 in six images
    transition = torch.eye(3, dtype=torch.float64)
    transition[0] = torch.tensor([0.6, 0.4, 0.0])
    flips = flip(labels, transition, seed=0)
    assert sorted(flips.image.tolist()) == [6, 7, 8, 9] and flips.requested == 4


def test_a_shortfall_shows_in_the_record_and_in_the_observed_matrix():
    labels = torch.tensor([[True, True, False]]).expand(10, 3)
    transition = pair_flip(3, 0.5)  # class 0 can only become class 1, which is always there
    flips = flip(labels, transition, seed=0)
    assert flips.requested == 10 and len(flips.image) == 5
    expected = torch.tensor([[1, 0, 0], [0, 0.5, 0.5], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(observed(labels, flips), expected)


def test_flips_lost_to_a_crowded_image_pass_to_another():
    crowded = torch.tensor([[True, True, True, False]])
    roomy = torch.tensor([[False, False, False, True]])
    labels = torch.cat([crowded, roomy.expand(3, 4)])
    for seed in range(20):  # 6 labels, 4 flips; the first image can take one of them
        assert len(flip(labels, symmetric(4, 4 / 6), seed).image) == 4


def test_an_image_with_every_class_is_an_error_that_names_it():
    labels = torch.zeros(5, 3, dtype=torch.bool)
    labels[3] = True
    with pytest.raises(ValueError, match=r"image 3 has all 3 classes: class 0 has no absent class"):
        inject(labels, symmetric(3, 0.1), seed=0)
    assert torch.equal(inject(labels, symmetric(3, 0.0), seed=0), labels)


def test_same_seed_same_noise_in_another_process_and_other_seeds_differ():
    code = (
        "import hashlib, torch; from galc.noise.draw import inject; from galc.noise import symmetric;"
        "y = torch.arange(4000).reshape(400, 10) % 7 < 2;"
        "print(hashlib.sha256(inject(y, symmetric(10, 0.4), 3).numpy().tobytes()).hexdigest())"
    )
    labels = torch.arange(4000).reshape(400, 10) % 7 < 2
    here = hashlib.sha256(inject(labels, symmetric(10, 0.4), 3).numpy().tobytes()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == here
    assert not torch.equal(inject(labels, symmetric(10, 0.4), 3), inject(labels, symmetric(10, 0.4), 4))


def test_named_matrices_are_transitions_with_the_stated_entries():
    torch.testing.assert_close(
        symmetric(3, 0.4), torch.tensor([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64)
    )
    torch.testing.assert_close(
        pair_flip(3, 0.25), torch.tensor([[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]], dtype=torch.float64)
    )
    for make in (symmetric, pair_flip):
        check_transition(make(80, 0.6), 80)
        with pytest.raises(ValueError, match="rate"):
            make(3, 1.5)
        with pytest.raises(ValueError, match="num_classes=1"):
            make(1, 0.5)


def slow_observed(clean, noisy):
    k = clean.shape[1]
    counts = np.zeros((k, k))
    for y, z in zip(clean.tolist(), noisy.tolist(), strict=True):
        gained = [j for j in range(k) if z[j] and not y[j]]
        for i in range(k):
            if y[i] and z[i]:
                counts[i, i] += 1
            elif y[i]:
                for j in gained:
                    counts[i, j] += 1 / len(gained)
    return np.array([row / row.sum() if row.sum() else np.eye(k)[i] for i, row in enumerate(counts)])


def test_observed_spreads_a_lost_label_evenly_over_the_gained_ones():
    labels = random_labels(4)
    labels[:, 5] = False  # a class without labels
    flips = flip(labels, random_transition(4), seed=1)
    spread, exact = observed(labels, flips.noisy), observed(labels, flips)
    np.testing.assert_allclose(spread, slow_observed(labels, flips.noisy))
    torch.testing.assert_close(spread.diagonal(), exact.diagonal())
    assert exact[5].tolist() == torch.eye(8)[5].tolist()
    counted = torch.zeros(8, 8)
    for i, j in zip(flips.source.tolist(), flips.target.tolist(), strict=True):
        counted[i, j] += 1
    off = ~torch.eye(8, dtype=torch.bool)
    torch.testing.assert_close((exact * labels.sum(0)[:, None])[off], counted[off].double())
    for matrix in (spread, exact):
        check_transition(matrix, 8)


def test_observed_refuses_label_sets_of_another_size():
    clean = torch.eye(3, dtype=torch.bool)
    noisy = clean.clone()
    noisy[1, 2] = True
    with pytest.raises(ValueError, match="image 1 has 1 clean and 2 noisy labels"):
        observed(clean, noisy)
    with pytest.raises(ValueError, match="differ in shape"):
        observed(clean, noisy[:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:2], r"must be \(3, 3\)"),
        (lambda c: c * torch.tensor([[1.0], [1.0], [1.1]]), "row 2 .* does not sum to 1"),
        (lambda c: c + torch.tensor([[0.0] * 3, [1.0, -0.5, -0.5], [0.0] * 3]), "row 1 .* negative"),
        (lambda c: c.log().log(), "row 0 .* NaN"),
    ],
)
def test_matrices_that_are_no_transition_are_refused_by_row(change, message):
    with pytest.raises(ValueError, match=message):
        inject(torch.eye(3, dtype=torch.bool), change(symmetric(3, 0.3)), seed=0)


def test_labels_that_are_not_binary_are_refused():
    with pytest.raises(ValueError, match="got 2 in row 0, class 1"):
        inject(torch.tensor([[0, 2]]), symmetric(2, 0.1), seed=0)


@pytest.mark.skipif(not REAL.exists(), reason=f"real COCO labels are not at {REAL}")
def test_real_coco_labels_get_the_exact_noise():
    labels = torch.from_numpy(np.unpackbits(np.load(REAL)["Y"], axis=1)[:, :80].astype(bool))
    labels = labels[labels.sum(1) >= 2]
    flips = flip(labels, symmetric(80, 0.6), seed=0)
    assert isinstance(flips, Flips)
    assert len(flips.image) == round(0.6 * int(labels.sum())) == flips.requested
    assert not (labels[flips.image, flips.target]).any()
    assert (observed(labels, flips).diagonal() - 0.4).abs().mean() < 0.02


# --- noise of any kind ---------------------------------------------------------------------------------------------


def random_noise(seed, k=8):
    generator = torch.Generator().manual_seed(seed)
    removed, added = torch.rand(2, k, generator=generator, dtype=torch.float64)
    removed[0] = added[-1] = 0
    return Noise(random_transition(seed, k), removed * 0.6, added * 0.3)


@given(seed=st.integers(0, 2**31), k=st.integers(2, 9), density=st.sampled_from([0.0, 0.1, 0.4, 0.8]))
def test_labels_are_removed_flipped_and_added_and_none_is_doubled_or_true(seed, k, density):
    labels, model = without_full_rows(random_labels(seed, n=40, k=k, density=density)), random_noise(seed, k)
    before = labels.clone()
    done = model.inject(labels, seed)
    assert torch.equal(labels, before) and torch.equal(done.clean, labels)
    assert not (done.removed & ~labels).any()  # only what is there can go
    assert not (done.added & labels).any() and not (done.added & done.flips.noisy).any()  # always wrong, never doubled
    assert labels[done.flips.image, done.flips.source].all() and not labels[done.flips.image, done.flips.target].any()
    assert not done.removed[done.flips.image, done.flips.source].any()  # what is gone is not flipped
    assert torch.equal(done.noisy, done.flips.noisy | done.added)
    count = labels.sum(1) - done.removed.sum(1) + done.added.sum(1)
    assert torch.equal(done.noisy.sum(1), count)


@given(seed=st.integers(0, 2**31), k=st.integers(2, 9))
def test_removed_and_added_labels_are_within_one_of_the_request_in_every_class(seed, k):
    labels, model = without_full_rows(random_labels(seed, n=50, k=k)), random_noise(seed, k)
    done = model.inject(labels, seed)
    gone = model.removed * labels.sum(0)
    assert (done.removed.sum(0) - gone).abs().max() < 1 and abs(done.removed.sum() - gone.sum()) <= 0.5 + 1e-6
    come = model.added * (~(labels | done.flips.noisy)).sum(0)
    assert (done.added.sum(0) - come).abs().max() < 1 and abs(done.added.sum() - come.sum()) <= 0.5 + 1e-6


def test_noise_of_a_matrix_is_its_flips():
    labels, transition = random_labels(3), random_transition(3)
    done, model = Noise(transition).inject(labels, 5), Noise(transition)
    assert torch.equal(done.noisy, inject(labels, transition, 5))
    assert model.keeps_count and model.flips and not none(8).flips
    torch.testing.assert_close(done.observed().transition, observed(labels, flip(labels, transition, 5)))


def test_which_labels_are_drawn_is_uniform_within_a_class():
    labels = torch.ones(2000, 2, dtype=torch.bool)
    labels[:, 1] = False
    model = Noise(torch.eye(2), torch.tensor([0.3, 0]), torch.tensor([0, 0.2]))
    times = sum(model.inject(labels, seed).removed[:, 0].double() for seed in range(60))
    come = sum(model.inject(labels, seed).added[:, 1].double() for seed in range(60))
    for drawn, rate in ((times, 0.3), (come, 0.2)):
        assert drawn.sum() == 60 * 2000 * rate
        assert drawn.var().item() == pytest.approx(60 * rate * (1 - rate), rel=0.2)  # as independent draws have


def test_fate_sums_to_one_and_arrivals_to_what_is_left():
    model = random_noise(1)
    torch.testing.assert_close(model.fate.sum(1), torch.ones(8).double())
    torch.testing.assert_close(model.fate[:, 8], model.removed)
    torch.testing.assert_close(model.arrivals, (1 - model.removed)[:, None] * model.transition)


def test_what_is_observed_comes_near_what_was_asked_for():
    labels = random_labels(0, n=20_000, k=8, density=0.1)
    model = random_noise(4)
    done = model.inject(labels, 1)
    found = done.observed()
    assert (found.removed - model.removed).abs().max() < 1e-3 and (found.added - model.added).abs().max() < 1e-3
    assert (found.transition - model.transition).diagonal().abs().max() < 0.03
    asked, seen = model.expected(labels), changes(labels, done.noisy)
    assert (asked.removed - seen.removed).abs().max() < 0.03
    assert (asked.gained / seen.gained - 1).abs().max() < 0.15  # flips avoid present classes, the request does not


def test_changes_count_what_is_gone_and_what_is_wrong():
    clean = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]).bool()
    noisy = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0]]).bool()
    found = changes(clean, noisy)
    assert found.removed[:2].tolist() == [0.5, 0.5] and found.removed[2:].isnan().all()
    assert found.added[:3].tolist() == [0, 0, 1] and found.added[3].isnan()
    assert (found.labels_removed, found.labels_added) == (0.5, 0.6)
    with pytest.raises(ValueError, match="differ in shape"):
        changes(clean, noisy[:2])


def test_the_nature_of_noise_is_the_least_that_must_be_known_of_it():
    zero = torch.zeros(4)
    assert Noise(symmetric(4, 0.3)).nature == none(4).nature == "symmetric"
    assert Noise(pair_flip(4, 0.3)).nature == "targets"
    assert Noise(pair_flip(2, 0.3)).nature == "symmetric"  # two classes have one target each
    assert Noise(torch.eye(4), zero + 0.1, zero).nature == "count-changing"
    assert Noise(torch.eye(4), zero, zero + 0.1).nature == "count-changing"


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ([0.1, 0.2], r"removed must be \(3,\), a rate for each class, got shape \(2,\)"),
        ([0.1, 0.2, 1.5], r"removed: rates lie in \[0, 1\], got 1.5 for class 2"),
        ([float("nan"), 0, 0], r"removed: rates lie in \[0, 1\], got nan for class 0"),
    ],
)
def test_rates_that_are_none_are_refused_by_class(removed, message):
    with pytest.raises(ValueError, match=message):
        Noise(torch.eye(3), torch.tensor(removed), torch.zeros(3))


def test_an_image_with_every_class_can_lose_labels():
    labels = torch.ones(10, 3, dtype=torch.bool)
    assert Noise(torch.eye(3), torch.full((3,), 0.5), torch.ones(3)).inject(labels, 0).noisy.sum() == 15


def test_arrays_tables_and_lists_are_taken_for_what_they_are_and_keep_their_digits():
    labels, matrix = random_labels(0, k=3), [[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]]
    labels = without_full_rows(labels)
    expected = inject(labels, torch.tensor(matrix, dtype=torch.float64), 0)
    for take in (np.asarray, pd.DataFrame, lambda x: np.asarray(x).tolist()):
        assert torch.equal(inject(take(labels), take(matrix), 0), expected)
        noise = Noise(take(matrix), [0.1, 0, 0], np.array([0, 0.3, 0]))
        assert noise.transition[0, 0].item() == 0.7 and noise.removed[0].item() == 0.1
