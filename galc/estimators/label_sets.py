"""The likelihood of an image's whole set of noisy labels, and what explains each label of it.

Let L be the noisy labels of an image and o = h / (1 - h) the odds of its clean labels. A flip never lands on a label
that is there. So each label j of L is

    kept        weight o_j M_jj                    it was there and stayed
    arrived     weight o_i M_ij, i not in L        class i was there and was turned into j; i serves one label at most
    added       weight b_j                         it came from nowhere

and each class i outside L that is no source was absent, weight 1 - b_i, or vanished, weight o_i v_i. M (K, K) are the
fates of a clean label, sum over j of M_ij = 1 - v_i (`galc.noise.Noise.arrivals`, ``removed``, ``added``). The
likelihood of L is the sum, over all ways to explain it, of the product of the weights, times that of 1 - h over all
classes. As a target that is there is barred, M_ij is divided by the expected share of free targets, one half at least.
The sum, over matchings, is taken by belief propagation (Bayati et al. 2007), which is exact where no cycle of labels
and sources matters.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from galc.checks import check_labels, check_scores
from galc.noise import Noise

CHUNK = 2**18  # numbers at a time, so that they fit the processor's cache
ROOM = 0.5  # share of a class's targets that is taken to be free at least
EDGE = 1e-6  # probabilities are kept this far from 0 and 1
TINY = 1e-12


class Counts(NamedTuple):
    """Expected numbers over all images: ``moved`` (K, K) clean labels i that ended as j, ``removed`` (K,) that
    vanished, ``added`` (K,) labels from nowhere, ``spared`` (K,) absent classes to which nothing happened."""

    moved: Tensor
    removed: Tensor
    added: Tensor
    spared: Tensor


class LabelSets:
    """Noisy label sets with the odds of the clean labels.

    ``clean`` (N, K): calibrated probabilities of the clean labels, from models that have not seen the image's noisy
    labels ``noisy`` (N, K) bool. Raises ValueError for scores that are not finite or of another shape.
    """

    def __init__(self, clean: Tensor, noisy: Tensor):
        self.noisy = check_labels(noisy, "noisy")
        self.clean = check_scores(clean, self.noisy, "clean").float().clamp(EDGE, 1 - EDGE)
        self.parts = list(self._parts())

    def __len__(self) -> int:
        return len(self.noisy)

    @property
    def num_classes(self) -> int:
        return self.noisy.shape[1]

    def take(self, part: Tensor) -> "LabelSets":
        """The images of an index or a mask."""
        return LabelSets(self.clean[part], self.noisy[part])

    def _parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images of equal numbers of labels, a few at a time: their index (n,) and labels (n, m)."""
        number = self.noisy.sum(1)
        for m in number.unique().tolist():
            for index in (number == m).nonzero()[:, 0].split(max(1, CHUNK // (max(m, 1) * self.num_classes))):
                yield index, self.noisy[index].nonzero()[:, 1].reshape(len(index), m)

    def explain(self, noise: Noise, rounds: int) -> Iterator["Explained"]:
        """All explanations, a few images at a time, by that many rounds of belief propagation."""
        flips = noise.transition - noise.transition.diagonal().diag()
        targets = flips / flips.sum(1, keepdim=True).clamp(min=TINY)
        fates = [part.float().contiguous() for part in (noise.arrivals.T, noise.removed, noise.added)]
        for index, labels in self.parts:
            clean = self.clean[index]
            room = (1 - clean @ targets.T.float()).clamp(min=ROOM)
            yield _explain(index, labels, clean, room, *fates, rounds)

    def counts(self, noise: Noise, rounds: int = 3) -> Counts:
        """The E step: expected numbers of every fate under ``noise``."""
        size = self.num_classes
        moved, sums = torch.zeros(size, size), torch.zeros(3, size)
        for part in self.explain(noise, rounds):
            labels = part.labels.flatten()
            moved.index_add_(0, labels, part.arrived.flatten(0, 1))
            moved.diagonal().index_add_(0, labels, part.kept.flatten())
            sums[0] += part.removed.sum(0)
            sums[1].index_add_(0, labels, part.added.flatten())
            sums[2] += part.spared.sum(0)
        return Counts(moved.T.double(), *sums.double())

    def log_likelihood(self, noise: Noise, rounds: int = 3) -> float:
        """Of all label sets, nats an image."""
        total = sum(part.logs.double().sum() for part in self.explain(noise, rounds))
        return float(total + torch.log1p(-self.clean).double().sum()) / len(self)

    def posterior(self, noise: Noise, rounds: int = 12) -> Tensor:
        """P(clean label | image, its noisy labels): (N, K) float32 in [0, 1].

        Where the noise keeps the number of labels, the posteriors of an image sum to it. A label that ``noise`` holds
        impossible is answered by itself.
        """
        result = torch.empty_like(self.clean)
        for part in self.explain(noise, rounds):
            present = part.removed + part.arrived.sum(1)
            result[part.index] = present.scatter(1, part.labels, part.kept).clamp(0, 1)
        return result


class Explained(NamedTuple):
    """How n images with m labels each came by them.

    P of each explanation of a label, kept, added and arrived from each class, sums to 1; of a class outside the labels,
    removed and spared (it was absent), and the rest of 1: turned. The likelihood is made of the last four.
    """

    index: Tensor  # (n,)
    labels: Tensor  # (n, m)
    kept: Tensor  # (n, m)
    added: Tensor  # (n, m)
    arrived: Tensor  # (n, m, K)
    removed: Tensor  # (n, K)
    spared: Tensor  # (n, K)
    total: Tensor  # (n, m)
    claims: Tensor  # (n, K)
    bonds: Tensor  # (n, m, K)
    idle: Tensor  # (n, K)

    @property
    def logs(self) -> Tensor:
        """(n,) the logarithm of the sum over all explanations (its Bethe approximation)."""
        pairs = torch.log1p(self.claims) - torch.log1p(self.bonds).sum(1)
        return self.total.log().sum(1) + (pairs + self.idle.log()).sum(1)


def _explain(index, labels, clean, room, moved, removed, added, rounds: int) -> Explained:
    """``moved`` is transposed here: row j holds the classes that label j may come from."""
    odds = clean / (1 - clean)
    outside = torch.ones_like(clean).scatter(1, labels, 0)
    vanished = odds * removed
    idle = vanished + (1 - added).clamp(min=TINY)  # weight of a class outside L that is no source
    kept = (odds.gather(1, labels) * moved.diagonal()[labels]).clamp(min=TINY)
    own = (kept + added[labels])[:, :, None]
    source = (outside * odds / (idle * room))[:, None] * moved[labels]  # (n, m, K), of each class for each label

    free = torch.ones_like(source)  # how far a class is not claimed by the other labels
    for _ in range(rounds + 1):
        offered = source * free
        total = own + offered.sum(2, keepdim=True)
        claim = source / torch.maximum(total - offered, own)
        claims = claim.sum(1, keepdim=True)
        last, free = free, 1 / (1 + (claims - claim).clamp(min=0))
    idling = outside / ((1 + claims[:, 0]) * idle)
    return Explained(
        index,
        labels,
        kept / total[:, :, 0],
        added[labels] / total[:, :, 0],
        offered / total,
        idling * vanished,
        idling * (1 - added),
        total[:, :, 0],
        claims[:, 0],
        last * claim,
        torch.where(outside > 0, idle, 1),
    )
