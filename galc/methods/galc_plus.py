"""GALC-plus: the last model is trained on posterior labels, which it goes on revising. And what it is compared with.

The noisy labels of an image say by Bayes' rule, with an estimate of the noise and a cross-fitted model's word q on the
image, how probable each clean label is. These posteriors are the labels of the last training.
"""

from dataclasses import replace

import torch
from torch import Tensor

from galc.estimators.base import Estimate
from galc.estimators.label_sets import LabelSets
from galc.losses.asl import calibrate_logits
from galc.methods.base import ASL, BCE, method, plain
from galc.methods.small_loss import SmallLoss
from galc.noise import Noise
from galc.training.batch import Batch, EachEpoch, TrainingSet

EDGE = 1e-6  # probabilities are kept this far from 0 and 1


@method("galc-plus", "GALC-plus", data="everything", estimator="attribution", look=("#009e73", "P"))
def revised(stages, estimate, data):
    """C by attribution EM, then training on cross-fitted posteriors of the clean labels, which the model goes on
    revising. What we recommend.
    """
    q, given = stages.noisy_posterior[data.index], stages.observed[data.index]
    data = with_posteriors(data, q, estimate)
    return data, Refined(ASL, estimate.noise, q, given, data.targets, data.trusted)


@method(
    "galc-plus-fixed", "GALC-plus, labels fixed", data="everything", estimator="attribution", look=("#2ca25f", "$F$")
)
def fixed(stages, estimate, data):
    """GALC-plus without the revision: the posterior labels stay as they are throughout the last training."""
    return with_posteriors(data, stages.noisy_posterior[data.index], estimate), plain(ASL)


@method(
    "galc-plus-bce",
    "GALC-plus, fixed, BCE",
    data="everything",
    loss=BCE,
    estimator="attribution",
    look=("#66c2a5", "$B$"),
)
def fixed_bce(stages, estimate, data):
    """Fixed posterior labels with binary cross-entropy in place of ASL in the last training."""
    return with_posteriors(data, stages.noisy_posterior[data.index], estimate), plain(BCE)


@method(
    "galc-plus-iterated",
    "GALC-plus, fixed, iterated",
    data="everything",
    estimator="attribution",
    look=("#00573f", "$2$"),
)
def iterated(stages, estimate, data):
    """Fixed posterior labels of a second round, by models trained on the posterior labels of the first."""
    return with_posteriors(data, stages.second_posterior(estimate)[data.index], estimate), plain(ASL)


def with_posteriors(data: TrainingSet, q: Tensor, estimate: Estimate) -> TrainingSet:
    """``data`` with P(clean label | noisy labels, image) as targets of the images that are not trusted.

    q (n, K) are the probabilities of the clean labels of these images without a look at their noisy labels.
    """
    targets, noisy = data.targets.clone(), ~data.trusted
    targets[noisy] = LabelSets(q[noisy], targets[noisy].bool()).posterior(estimate.noise)
    return replace(data, targets=targets)


class Refined(EachEpoch):
    """ASL on posterior labels; from the third epoch on, the model itself has a say in them, in two ways, once an epoch.

    The posterior labels that the training begins with know each noisy image by q, a cross-fitted model's word, and by
    its noisy labels (Bayes' rule, `galc.estimators.label_sets`). The model in training is a better one, by those very
    labels.

    - *Targets.* Bayes' rule is applied anew, the log-odds of its prior being the mean of those of q and of the model's
      own on the image: its outputs of all epochs, each of half the weight of the next, calibrated. q has seen nothing
      of the image's labels and so keeps the model from believing itself.
    - *Doubt.* Labels as they were given, of the largest losses, do not count at all (`galc.methods.small_loss`), as
      many of each class as ``noise`` holds wrong: there even a posterior label is not trusted.

    q (n, K) in [0, 1] and ``noisy`` (n, K) bool belong to the rows of the training set where ``trusted`` (n,) is
    False; the others are not read. ``targets`` (n, K) are those of the training set. ``elementwise`` (logits,
    targets) -> (B, K) is ASL with its default constants, whose outputs `calibrate_logits` reads. Losses: the mean over
    the batch of the sum over the classes, as `galc.training.batch` has it.
    """

    def __init__(
        self,
        elementwise,
        noise: Noise,
        q: Tensor,
        noisy: Tensor,
        targets: Tensor,
        trusted: Tensor,
        *,
        own: float = 0.5,
        memory: float = 0.5,
        first_epoch: int = 3,
    ):
        super().__init__()
        self.elementwise, self.noise = elementwise, noise
        self.own, self.memory, self.first_epoch = own, memory, first_epoch
        self.doubt = SmallLoss(elementwise, noise.arrivals, *targets.shape, added=noise.added)
        # known beforehand: in no checkpoint
        self.register_buffer("known", torch.logit(q.float(), eps=EDGE), persistent=False)
        self.register_buffer("noisy", noisy, persistent=False)
        self.register_buffer("trusted", trusted, persistent=False)
        self.register_buffer("outputs", torch.full(targets.shape, torch.nan))
        self.register_buffer("targets", targets.clone())

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        if self.begins(batch.epoch) and batch.epoch >= self.first_epoch:
            self.revise()
        rows, trusted = batch.rows, batch.trusted[:, None]
        self.remember(rows, logits.detach().float())
        self.doubt(logits.detach(), replace(batch, targets=self.noisy[rows].float()))
        counts = self.doubt.keep[rows] | trusted
        return (self.elementwise(logits, self.targets[rows]) * counts).sum(1).mean()

    def remember(self, rows: Tensor, logits: Tensor) -> None:
        """Take what the model says of the images at ``rows`` into its average."""
        before = self.outputs[rows]
        self.outputs[rows] = torch.where(before.isnan(), logits, self.memory * before + (1 - self.memory) * logits)

    @torch.no_grad()
    def revise(self) -> None:
        """Bayes' rule for all noisy images, with what the model says of them as half of the prior."""
        which = ~self.trusted & ~self.outputs[:, 0].isnan()
        known, own = self.known[which].cpu(), calibrate_logits(self.outputs[which].cpu())
        prior = torch.sigmoid((1 - self.own) * known + self.own * own).clamp(EDGE, 1 - EDGE)
        posterior = LabelSets(prior, self.noisy[which].cpu()).posterior(self.noise, rounds=4)
        self.targets[which] = posterior.to(self.targets.device)
