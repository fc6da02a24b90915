"""How well wrong and missing labels are found, beside cleanlab: ``python benchmarks/bench_clean.py [DATA] [options]``.

Noise is injected into all images but the trusted ones (a tenth, drawn at random); DATA is any data set with true labels
(default: pictograms). Both sides see the same features, noise, folds, width and epochs. cleanlab gets cross-fitted
probabilities of the labels as given, as its users have them ("cleanlab"); and once more the calibrated probabilities of
the true labels that galc ranks with ("cleanlab, q"), so that only the ranking differs. Of its scores the one with the
highest average precision is taken, which nobody could choose without the true labels.

Average precision, percent: of finding the wrong ones among the given labels, and the missing ones among the others, in
all images that are not trusted. Rows are printed and written to outputs/clean.csv as they come.
``--bound`` says how much better galc would be, had its models been trained on the true labels of all images.
``--classifier`` measures the classifier on a tenth of the images that have no part in the cleaning, trained on the
posterior as it is ("fixed") or revised by what it learns ("revised", `galc.methods.galc_plus`); the last weights or
their moving average ("averaged"): mAP in percent, and nats an image of the true labels.
``--coverage`` counts the classes whose shares of wrong and of missing labels lie in their 90 % intervals.
``--ranking`` times the ranking of 100,000 images with 80 classes.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from galc import metrics, store
from galc.clean import intervals, ranked, suspicion
from galc.clean.pipeline import Cleaning
from galc.clean.stages import OwnStages
from galc.data.dataset import Dataset
from galc.data.load import load
from galc.estimators.label_sets import LabelSets
from galc.losses.asl import calibrate_logits
from galc.methods.base import ASL, BCE, plain
from galc.methods.galc_plus import Refined
from galc.noise import Noise, kinds, symmetric
from galc.study.params import Params
from galc.training.models import predict

KINDS, RATES = ("symmetric", "pair", "class-dependent", "missing", "additional"), (0.2, 0.4, 0.1)
IMAGES, CLASSES = 100_000, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="pictograms")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    parser.add_argument("--trusted", type=float, default=0.1, help="share of the images; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--bound", action="store_true", help="of galc alone, and were its models trained on true labels"
    )
    parser.add_argument("--classifier", action="store_true", help="four ways to train it, on images held out")
    parser.add_argument("--images", type=int, help="take so many images alone, drawn at random")
    parser.add_argument("--coverage", action="store_true", help="of the intervals, in place of the precision")
    parser.add_argument("--ranking", nargs="?", const="both", choices=("both", "galc", "cleanlab"))
    options = parser.parse_args()
    if options.ranking == "both":
        for side in ("galc", "cleanlab"):  # a process each, for its peak memory
            subprocess.run([sys.executable, __file__, "--ranking", side], check=True)
    elif options.ranking:
        time_ranking(options.ranking)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    clean = load(options.data, "train")
    if options.images:
        clean = clean.subset(np.random.default_rng(options.seed).permutation(len(clean))[: options.images])
    given = clean
    cleaning = Cleaning(given, seed=options.seed)
    params, inputs = cleaning.params, cleaning.stages[1].x
    truth = given.labels
    order = np.random.default_rng(options.seed).permutation(len(given))
    trusted = torch.zeros(len(given), dtype=torch.bool)
    trusted[torch.from_numpy(order[: int(options.trusted * len(given))])] = True
    for rate in map(float, options.rates.split(",")):
        for kind in options.kinds.split(","):
            noisy = with_noise(truth, trusted, kind, rate, clean, options.seed)
            own = replace(given, labels=noisy, trusted=trusted)
            row = {"data": Path(options.data).name, "kind": kind, "rate": rate}
            row |= {"trusted": options.trusted, "seed": options.seed}
            stages = OwnStages(own, inputs, params)
            if options.classifier:
                for more in classifiers(own, inputs, params, truth):
                    show(row | more)
            elif options.coverage:
                show(row | coverage(stages, truth))
            elif options.bound:
                show(row | bound(stages, truth))
            else:
                record(row | measure(stages, truth))


def with_noise(truth: Tensor, trusted: Tensor, kind: str, rate: float, clean, seed: int) -> Tensor:
    """(N, K) labels, those of images that are not trusted with noise."""
    silver = ~trusted
    noise = kinds.make(kind, kinds.Request(truth[silver], rate, clean.groups, seed))
    labels = truth.clone()
    labels[silver] = noise.inject(truth[silver], seed).noisy
    return labels


def measure(stages: OwnStages, truth: Tensor) -> dict:
    """Average precision and seconds of both sides."""
    labels, silver = stages.given.labels, ~stages.given.trusted
    started = time.perf_counter()
    known = stages.known(stages.sources)
    row = of_ranking("galc", stages, known, truth)
    row = {"galc_seconds": time.perf_counter() - started} | row
    started = time.perf_counter()
    plain = stages.general.given_probability
    row["cleanlab_seconds"] = time.perf_counter() - started
    for name, probabilities in (("cleanlab", plain), ("cleanlab, q", known)):
        found = [
            precision(name, s, labels[silver], truth[silver]) for s in cleanlab_scores(labels, probabilities, silver)
        ]
        row |= {key: max(one[key] for one in found) for key in found[0]}
    return row


def of_ranking(name: str, stages: OwnStages, known: Tensor, truth: Tensor) -> dict[str, float]:
    """Average precision of the ranking that probabilities of the true labels, ``known`` (N, K), lead to."""
    labels, silver = stages.given.labels[~stages.given.trusted], ~stages.given.trusted
    noise = intervals.first(known[silver], labels, stages.calibrates)
    found = suspicion(labels, LabelSets(known[silver], labels).posterior(noise))
    return precision(name, found, labels, truth[silver])


def bound(stages: OwnStages, truth: Tensor) -> dict[str, float]:
    """Beside what galc finds, what it would find if the models of its second round were trained on the true labels."""
    row = of_ranking("galc", stages, stages.known(stages.sources), truth)
    sources = stages.second_round(stages.start, truth.float(), plain(BCE))
    return row | of_ranking("true labels", stages, stages.known(sources), truth)


WAYS = ({}, {"method": "normalized_margin"}, {"method": "confidence_weighted_entropy"}, {"adjust_pred_probs": True})


def cleanlab_scores(labels: Tensor, probabilities: Tensor, part: Tensor | slice, ways=WAYS) -> list[Tensor]:
    """Suspicion (n, K) by each of cleanlab's ways to score a label, of the images in ``part``."""
    from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

    given = [row.nonzero()[:, 0].tolist() for row in labels]
    scores = [get_label_quality_scores_per_class(given, probabilities.double().numpy(), **way) for way in ways]
    return [1 - torch.from_numpy(score)[part] for score in scores]


def precision(name: str, suspicion: Tensor, labels: Tensor, truth: Tensor) -> dict[str, float]:
    """Average precision in percent, of wrong and of missing labels; NaN where there are none."""
    row = {}
    for what, among, right in (("wrong", labels, ~truth), ("missing", ~labels, truth)):
        found = right[among].numpy()
        score = average_precision_score(found, suspicion[among].numpy()) if found.any() else np.nan
        row[f"{name}: {what}"] = round(100 * score, 2)
    return row


def classifiers(given: Dataset, inputs: Tensor, params: Params, truth: Tensor) -> Iterator[dict]:
    """Four classifiers of one cleaning, each with what it says of the true labels of images that are held out."""
    held = torch.from_numpy(np.random.default_rng(params.seed + 1).permutation((~given.trusted).nonzero()[:, 0]))
    held, part = held[: len(given) // 10], torch.ones(len(given), dtype=torch.bool)
    part[held] = False
    own = given.subset(part)
    stages = OwnStages(own, inputs[part], params)
    silver, known = ~own.trusted, stages.known(stages.sources)
    noise = intervals.first(known[silver], own.labels[silver], stages.calibrates)
    targets = stages.posterior(known, noise)
    learnt = stages.general.training_set(torch.arange(len(own)), targets)
    for name, loss in (
        ("fixed", plain(ASL)),
        ("revised", Refined(ASL, noise, known, own.labels, targets, own.trusted)),
    ):
        fitted = stages.general.fit(learnt, loss, store.outputs() / "checkpoints" / "bench.safetensors")
        for weights, model in (("last", fitted.model), ("averaged", fitted.ema)):
            scores, true = calibrate_logits(predict(model, inputs[held])), truth[held]
            nats = float(binary_cross_entropy_with_logits(scores, true.float(), reduction="none").sum(1).mean())
            yield {
                "classifier": f"{name}, {weights}",
                "mAP": metrics.evaluate(scores.sigmoid(), true)["mAP"],
                "nats": nats,
            }


def coverage(stages: OwnStages, truth: Tensor) -> dict[str, float]:
    """Percent of the classes whose true share is in its interval, and mean half width and error in points."""
    labels, trusted = stages.given.labels, stages.given.trusted
    found, _ = intervals.estimate(stages.sources, labels, trusted, stages.params.seed)
    given, true = labels[~trusted], truth[~trusted]
    row = {}
    for what, part, whole, rates in (
        ("wrong", given & ~true, given, found["wrong"]),
        ("missing", true & ~given, true, found["missing"]),
    ):
        share, some = part.sum(0) / whole.sum(0).clamp(min=1), whole.any(0)
        held = ((rates.low - 1e-6 <= share) & (share <= rates.high + 1e-6))[some].double()
        half, error = (rates.high - rates.low)[some] / 2, (rates.estimate - share)[some].abs()
        row |= {f"{what}: held": 100 * float(held.mean()), f"{what}: half width": 100 * float(half.mean())}
        row[f"{what}: error"] = 100 * float(error.mean())
    return row


def record(row: dict) -> None:
    """Print a row and put it into the table, in place of an earlier one of the same settings."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row |= {"peak_MiB": round(memory)}
    path, keys = store.outputs() / "clean.csv", ["data", "kind", "rate", "trusted", "seed"]
    table = pd.concat([pd.read_csv(path) if path.exists() else pd.DataFrame(), pd.DataFrame([row])])
    store.write_text(path, table.drop_duplicates(keys, keep="last").to_csv(index=False))
    show(row)


def show(row: dict) -> None:
    print(
        "  ".join(f"{key} {value:.1f}" if isinstance(value, float) else f"{value}" for key, value in row.items()),
        flush=True,
    )


def time_ranking(side: str) -> None:
    """Seconds and peak memory of ranking random labels and probabilities, from these to an ordered table."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(IMAGES, CLASSES, generator=generator) < 3.4 / CLASSES
    known = (torch.rand(IMAGES, CLASSES, generator=generator) ** 8 + labels * 0.3).clamp(0, 1)
    files, names = (tuple(map(kind, map(str, range(n)))) for kind, n in ((Path, IMAGES), (str, CLASSES)))
    data = Dataset("random", names, files, labels)
    started = time.perf_counter()
    if side == "galc":
        posterior = LabelSets(known, labels).posterior(Noise(symmetric(CLASSES, 0.2)))
        number = len(ranked(data, posterior))
    else:
        (scores,) = cleanlab_scores(labels, known, slice(None), WAYS[:1])
        number = len(scores.flatten().argsort(descending=True))
    seconds, memory = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{side}: {IMAGES:,} x {CLASSES} ranked in {seconds:.1f} s ({number:,} rows), peak {memory:,.0f} MiB, "
          f"{torch.get_num_threads()} threads")  # fmt: skip


if __name__ == "__main__":
    main()
