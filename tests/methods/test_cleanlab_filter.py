"""Label filtering by cleanlab: what it names, what it leaves alone, and what is said where it is missing."""

import sys

import numpy as np
import pytest
import torch

from galc.methods.cleanlab_filter import suspicious
from galc.noise import symmetric
from galc.noise.draw import inject

K = 8


def images(n: int = 600, certainty: float = 3.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities of the noisy labels, clean labels, labels of which 20 % are flipped."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(n, K, generator=generator) < 0.25
    clean = clean[clean.any(1) & ~clean.all(1)]
    noisy = inject(clean, symmetric(K, 0.2), 0)
    logits = certainty * (2 * clean.float() - 1) + torch.randn(clean.shape, generator=generator)
    return logits.sigmoid() * 0.8 + 0.02, clean, noisy


def test_most_wrong_labels_are_found_and_most_right_ones_are_kept():
    probabilities, clean, noisy = images()
    found, wrong = suspicious(probabilities, noisy), clean != noisy
    assert found.dtype == torch.bool and found.shape == noisy.shape
    assert (found & wrong).sum() / wrong.sum() > 0.8
    assert (found & ~wrong).sum() / (~wrong).sum() < 0.05


def test_each_class_is_cleanlabs_own_binary_problem():
    from cleanlab.filter import find_label_issues

    probabilities, _, noisy = images(300, certainty=1.0)
    found = suspicious(probabilities, noisy)
    for k in range(K):
        p = probabilities[:, k].double().numpy()
        own = find_label_issues(noisy[:, k].long().numpy(), np.stack([1 - p, p], 1), n_jobs=1)
        assert found[:, k].tolist() == own.tolist()


def test_a_class_that_all_images_or_none_have_is_left_alone_and_changes_nothing_for_the_others():
    probabilities, _, noisy = images()
    before = suspicious(probabilities, noisy)
    noisy[:, 2], noisy[:, 5] = False, True
    after = suspicious(probabilities, noisy)
    assert not after[:, [2, 5]].any()
    others = [k for k in range(K) if k not in (2, 5)]
    assert torch.equal(after[:, others], before[:, others])
    assert not suspicious(probabilities, torch.zeros_like(noisy)).any()


def test_logits_are_refused():
    probabilities, _, noisy = images(60)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        suspicious(probabilities.logit(), noisy)
    with pytest.raises(ValueError, match="differ in shape"):
        suspicious(probabilities[1:], noisy)


@pytest.mark.parametrize("missing", ["cleanlab", "termcolor"])
def test_without_the_library_the_mend_is_named(monkeypatch, missing):
    for name in [name for name in sys.modules if name.split(".")[0] in ("cleanlab", missing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'cleanlab is needed here.*pip install "galc\[compare\]"'):
        suspicious(torch.rand(3, 2), torch.ones(3, 2))
