"""Training on the labels with a small loss: what a model finds hard to believe early is likely wrong."""

import torch
from torch import Tensor

from galc.methods.base import ASL, Corrected, Elementwise, method
from galc.training.batch import Batch, EachEpoch


@method("small-loss", "Small loss", data="everything", estimator="attribution", look=("#999933", "."))
def small_loss(stages, estimate, data):
    """ASL without the labels of largest loss, as many of each class as GALC-plus's C holds wrong."""
    return data, Corrected(ASL, SmallLoss(ASL, estimate.arrivals, *data.targets.shape, added=estimate.appearing))


class SmallLoss(EachEpoch):
    """Leave out the labels with the largest losses, a label at a time (small-loss selection, Han et al. 2018).

    Of the present labels of class k, the share wrong_k with the largest losses of the epoch before does not count, and
    of the absent ones the share lost_k: see `wrong_shares`, which works both out from an estimated C, where the paper
    takes a known noise rate. The shares grow linearly from 0 after the first epoch to their full size after ``ramp``
    epochs (the paper's T_k = 10). One network selects for itself: a second one, as in Co-teaching, would have twice
    the budget of every other method here.

    ``elementwise`` (logits, targets) -> (B, K) is the loss that selects and trains. The state keeps the loss of every
    label of the training set, (images, K). Losses (B, K), 0 for a label that is left out; images whose row has not
    been seen count whole. Trusted images are never left out.
    """

    def __init__(
        self,
        elementwise: Elementwise,
        transition: Tensor,
        images: int,
        num_classes: int,
        ramp: int = 10,
        added: Tensor | None = None,
    ):
        super().__init__()
        self.elementwise, self.ramp = elementwise, ramp
        self.register_buffer("transition", transition.float())
        self.register_buffer("added", torch.zeros(num_classes) if added is None else added.float())
        self.register_buffer("losses", torch.full((images, num_classes), torch.nan))
        self.register_buffer("labels", torch.zeros(images, num_classes, dtype=torch.bool))
        self.register_buffer("keep", torch.ones(images, num_classes, dtype=torch.bool))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        if self.begins(batch.epoch):
            self.select(batch.epoch)
        losses = self.elementwise(logits, batch.targets)
        rows, trusted = batch.rows, batch.trusted[:, None]
        self.losses[rows] = torch.where(trusted, self.losses[rows], losses.detach().float())
        self.labels[rows] = torch.where(trusted, self.labels[rows], batch.targets > 0.5)
        return torch.where(self.keep[rows], losses, torch.zeros_like(losses))

    @torch.no_grad()
    def select(self, epoch: int) -> None:
        """Choose the labels that count in ``epoch`` by the losses of the one before."""
        seen = ~self.losses[:, :1].isnan()
        present, absent = self.labels & seen, ~self.labels & seen
        wrong, lost = wrong_shares(present.sum(0) / seen.sum().clamp(min=1), self.transition, self.added)
        ramp = min((epoch - 1) / self.ramp, 1.0)
        self.keep = ~(largest(self.losses, present, ramp * wrong) | largest(self.losses, absent, ramp * lost))


def largest(losses: Tensor, among: Tensor, share: Tensor) -> Tensor:
    """(N, K) bool: in each column the ``share`` (K,) of the entries in ``among`` (N, K) that has the largest losses.

    Rounded down to whole entries.
    """
    ranks = torch.where(among, losses, -torch.inf).argsort(0, descending=True).argsort(0)
    return ranks < (share * among.sum(0)).floor()


def wrong_shares(
    observed: Tensor, transition: Tensor, added: Tensor | None = None, steps: int = 500
) -> tuple[Tensor, Tensor]:
    """Shares (K,) of wrong labels among those observed present, and of lost labels among those observed absent.

    observed (K,) is the frequency of each noisy label, C (K, K) has rows that sum to at most 1, ``added`` (K,) is the
    probability that a class appears from nowhere. The frequencies f of the clean labels solve
    observed = C^T f + (1 - f) added with f >= 0, by expectation maximisation (Richardson-Lucy). Then class k's present
    labels are wrong with share 1 - C_kk f_k / observed_k, its absent ones are lost labels with share
    (1 - C_kk) f_k / (1 - observed_k): rare classes have mostly wrong labels, frequent ones mostly right ones.
    """
    c, noisy = transition.double(), observed.double()
    background = torch.zeros_like(noisy) if added is None else added.double()
    clean = noisy.clone()
    for _ in range(steps):
        expected = clean @ c + (1 - clean).clamp(min=0) * background
        clean = clean * (c @ (noisy / expected.clamp(min=1e-30))) / c.sum(1).clamp(min=1e-30)
    kept = c.diagonal() * clean
    wrong = 1 - kept / noisy.clamp(min=1e-30)
    lost = (clean - kept) / (1 - noisy).clamp(min=1e-30)
    return tuple(torch.where(noisy > 0, part, 0).clamp(0, 1).float() for part in (wrong, lost))
