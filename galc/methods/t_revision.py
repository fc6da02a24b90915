"""T-revision (Xia et al. 2019, NeurIPS, "Are anchor points really indispensable in label-noise learning?").

The estimate of C need not stay as it is: a slack dC is added to it and learned with the classifier, so that C + dC
explains the noisy labels better. As in the paper the classifier is first trained with C as it is, here for the first
half of the epochs: while it knows nothing, the slack would only learn its doubt. Two things differ from the paper.

- Its loss reweights each example by q / q~ of the current model, which the slack can lower by shrinking the weights.
  Here the slack enters the forward-corrected cross-entropy, whose minimum over it is a maximum of the likelihood.
- In the authors' code a last stage learns classifier and slack at a rate of 5e-7 and keeps the epoch that is best on
  noisy labels held out. Here optimiser and epochs are those of all methods, and the slack is measured in units of 1 on
  the diagonal and 1 / (K - 1) off it, so that a step moves as much mass on either side of a row.
"""

import torch
from torch import Tensor, nn

from galc.losses.forward import ForwardBCE
from galc.methods.base import BCE, Corrected, method
from galc.training.batch import Batch


@method("t-revision", "T-revision", data="everything", loss=BCE, estimator="attribution", look=("#9467bd", "$T$"))
def t_revision(stages, estimate, data):
    """Forward-corrected BCE; C gets a slack that is learned with the classifier, after Xia et al. 2019."""
    return data, Corrected(BCE, TRevision(estimate.arrivals, stages.params.epochs, estimate.appearing))


class TRevision(nn.Module):
    """Forward-corrected cross-entropy with a learned slack on C (K, K): losses (B, K) of noisy images.

    Rows of C sum to 1, to less where labels vanish; ``added`` (K,) as in `galc.losses.forward`. Until half of
    ``epochs`` are over, and with the slack at 0, this is the forward correction by C. Raises ValueError for a bad
    transition.
    """

    def __init__(self, transition: Tensor, epochs: int, added: Tensor | None = None):
        super().__init__()
        self.warm_up = epochs // 2
        self.loss = ForwardBCE(transition, added=added, reduction="none")
        transition = self.loss.transition.float()
        size = len(transition)
        unit = torch.full((size, size), 1 / max(size - 1, 1)).fill_diagonal_(1.0)
        self.register_buffer("transition", transition)
        self.register_buffer("unit", unit)
        self.slack = nn.Parameter(torch.zeros(size, size))

    def revised(self) -> Tensor:
        """C + dC (K, K), negative entries held at 0, rows scaled to the sums that C's had."""
        moved = self.transition + self.unit * self.slack
        # an entry held at 0 keeps its gradient and may return
        held = moved + (moved.clamp(min=0) - moved).detach() + 1e-12
        return held * (self.transition.sum(1) / held.sum(1))[:, None]

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        revised = self.revised() if batch.epoch > self.warm_up else self.transition
        return self.loss.losses(logits, batch.targets, revised)
