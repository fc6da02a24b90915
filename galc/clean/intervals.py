"""How labels were corrupted, and how sure that is: rates with intervals, and what would help.

The estimate is the study's attribution EM (`galc.estimators.attribution`), its uncertainty a bootstrap over images:
trusted ones for the calibration, others for a few more steps of the EM. Chance widens the shares of wrong and missing
labels, since they are those of the data at hand. A model that is off for one class shows in none of this: all is
widened by `WIDER`, chosen where the truth is known.
"""

import numpy as np
import torch
from torch import Tensor

from galc.clean import ENOUGH, LEVEL, RATES, Rates
from galc.data.dataset import Dataset
from galc.estimators import attribution
from galc.estimators.attribution import INFINITE, KIND_MARGIN, RATE, Prior
from galc.estimators.label_sets import Counts, LabelSets
from galc.noise import Noise
from galc.results.groups import shorten
from galc.training.crossfit import RIDGE, Platt

Z = 1.645  # standard deviations to either end of a 90 % interval
STEPS = 3  # of the EM in a replicate, from the estimate
MOST = 4096  # images of a replicate; where there are more, intervals are wider than need be
WIDER = 1.5  # chosen on pictograms, 20 % symmetric, pair and additional noise; see docs/method.md for what it holds
UNCHECKED_MARGIN = 0.05  # in place of KIND_MARGIN without trusted images; missing labels pass for no noise with that
WIDE = 0.15  # a half width above which a rate is not known well enough to act on


def estimate(
    sources: Tensor, labels: Tensor, trusted: Tensor, seed: int = 0, replicates: int = 40
) -> tuple[dict[str, Rates], Prior]:
    """`RATES` of the labels that are not trusted, with 90 % intervals, see `galc.clean.Cleaned`; and their prior.

    sources : (S, N, K) logits of the true labels, cross-fitted; calibrated by the trusted images if there are any
    labels  : (N, K) bool, as given; trusted: (N,) bool
    """
    gold, silver = trusted.nonzero()[:, 0], (~trusted).nonzero()[:, 0]
    known = _calibrated(sources, labels, gold, silver)
    sets = _sets(known, labels[silver])
    prior = _prior(sets, labels.shape[1], bool(len(gold)))
    noise = attribution.fit(sets, prior)
    own = prior._replace(rate=RATE) if prior.rate == INFINITE else prior  # one rate for all is a choice, not a fact
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for _ in range(replicates):
        anew = gold[torch.randint(len(gold), (len(gold),), generator=generator)] if len(gold) else gold
        part = torch.randint(len(silver), (min(MOST, len(silver)),), generator=generator)
        again = _sets(_calibrated(sources, labels, anew, silver[part], generator), labels[silver[part]])
        found = noise
        for _ in range(STEPS):
            found = attribution.maximise(again.counts(found, 2), own)
        draws.append(_parts(found, again.counts(found, 2)))
    chance = (*[torch.zeros(())] * 3, *_chance(sets, noise))
    found = map(_rates, _parts(noise, sets.counts(noise)), zip(*draws, strict=True), chance)
    there, named = (slice(labels.shape[1]),), zip(RATES.items(), found, strict=True)
    return {name: Rates(*(end[there * ndim] for end in rates)) for (name, ndim), rates in named}, prior


def first(known: Tensor, labels: Tensor, checked: bool = True) -> Noise:
    """The noise alone, from probabilities of the true labels (n, K), ``checked`` by trusted images, and labels."""
    sets, size = _sets(known, labels), labels.shape[1]
    noise = attribution.fit(sets, _prior(sets, size, checked))
    return Noise(noise.transition[:size, :size], noise.removed[:size], noise.added[:size])


def _prior(sets: LabelSets, num_classes: int, checked: bool) -> Prior:
    """Chosen by held-out likelihood, of which little is left to probabilities that no trusted image has checked."""
    if num_classes == 1:  # its label can only vanish and appear
        return Prior(rate=RATE, flips=False, open=True)
    return attribution.choose(sets, margin=KIND_MARGIN if checked else UNCHECKED_MARGIN)


def _sets(known: Tensor, labels: Tensor) -> LabelSets:
    """Label sets of two classes at least: a single one gets an empty one beside it."""
    if labels.shape[1] == 1:
        known, labels = (torch.cat([part, torch.zeros_like(part)], 1) for part in (known, labels))
    return LabelSets(known, labels)


def _calibrated(
    sources: Tensor, labels: Tensor, gold: Tensor, wanted: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """(n, K) probabilities of the ``wanted`` images, by the ``gold`` ones (which may come several times) if any.

    With a ``generator`` the biases vary as much as their posterior does, once the gold images were drawn anew: a fit
    with information I and ridge r then has the variance I / (r + I)^2, and the posterior 1 / (r + I).
    """
    if not len(gold):
        return sources[0, wanted].sigmoid()
    platt = Platt(labels.shape[1], len(sources)).fit(sources[:, gold], labels[gold])
    if generator is not None:
        known = platt.probabilities(sources[:, gold]).double()
        rest = RIDGE**0.5 / (RIDGE + (known * (1 - known)).sum(0))
        platt.bias.data += rest * torch.randn(len(rest), generator=generator).double()
    return platt.probabilities(sources[:, wanted])


def _parts(noise: Noise, counts: Counts) -> tuple[Tensor, ...]:
    """transition (K, K), removed, added, wrong and missing (K,)."""
    moved, stayed = counts.moved, counts.moved.diagonal()
    given, true = moved.sum(0) + counts.added, moved.sum(1) + counts.removed
    wrong, missing = 1 - stayed / given.clamp(min=1e-9), 1 - stayed / true.clamp(min=1e-9)
    wrong, missing = (torch.where(whole > 1e-6, part, 0) for part, whole in ((wrong, given), (missing, true)))
    return noise.transition, noise.removed, noise.added, wrong.clamp(0, 1), missing.clamp(0, 1)


def _chance(sets: LabelSets, noise: Noise) -> tuple[Tensor, Tensor]:
    """Standard deviations (K,) of the shares wrong and missing; one wrong with probability p varies by p (1 - p)."""
    posterior, given = sets.posterior(noise).double(), sets.noisy
    varies, true = posterior * (1 - posterior), posterior.sum(0).clamp(min=1)
    wrong = (varies * given).sum(0).sqrt() / given.sum(0).clamp(min=1)
    return wrong, (varies * ~given).sum(0).sqrt() / true


def _rates(estimate: Tensor, draws: tuple[Tensor, ...], chance: Tensor) -> Rates:
    """An estimate with the interval of its draws, which holds it; with the standard deviation ``chance``, and wider."""
    tail, reach = (1 - LEVEL) / 2, Z * chance
    ends = np.quantile(torch.stack(draws).numpy(), (tail, 0.5, 1 - tail), axis=0)
    low, middle, high = map(torch.from_numpy, ends)
    # From the estimate or from the draws' median, whichever is farther out: they differ where the fit is biased.
    below = (estimate - middle).clamp(min=0) + (middle - low).hypot(reach)
    above = (middle - estimate).clamp(min=0) + (high - middle).hypot(reach)
    return Rates(estimate, (estimate - WIDER * below).clamp(0, 1), (estimate + WIDER * above).clamp(0, 1))


def more_images(rates: Rates, trusted_labels: Tensor) -> Tensor:
    """(K,) how many more trusted images with each class, beside ``trusted_labels`` (n, K), would bring its half width
    down to `WIDE`. It shrinks with the square root of their number.
    """
    half, have = (rates.high - rates.low) / 2, trusted_labels.sum(0).double()
    need = (have.clamp(min=1) * (half / WIDE).square() - have).ceil()
    return torch.where(half > WIDE, need.clamp(min=1), 0).long()


def advice(given: Dataset, wrong: Rates, missing: Rates) -> list[str]:
    """Sentences on what cannot be said for want of trusted images, and on what would help."""
    number, said = int(given.trusted.sum()), []
    if number < ENOUGH:
        have = f"only {number} trusted images" if number else "no trusted images"
        return [
            f"There are {have} ({ENOUGH} are the least that help). All is estimated from the noisy labels alone: what "
            "is suspicious can still be ranked, but rates are guesses that may be far off, and their intervals leave "
            "that out; labels that are wrong in a way that looks like the image will not show."
        ]
    own = given.labels[given.trusted]
    if absent := [name for name, there in zip(given.classes, own.any(0), strict=True) if not there]:
        said.append(
            f"No trusted image shows {shorten(absent, 10)}: what is said of them is borrowed from the other classes."
        )
    more = torch.maximum(more_images(wrong, own), more_images(missing, own))
    order = more.argsort(descending=True, stable=True).tolist()
    if asked := [f"{given.classes[k]} ({int(more[k])} more)" for k in order if more[k]]:
        said.append(
            f"The rates of {len(asked)} classes are uncertain by more than {WIDE:.0%}. Trusted images that would bring "
            f"them there: {shorten(asked, 10)}."
        )
    return said
