"""Cleaning from data to result: better than taking labels as they are, with trusted images, without, with one class."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from galc.clean import pipeline as run
from galc.clean.pipeline import Cleaning
from galc.clean.stages import OwnStages
from galc.data.dataset import Dataset
from galc.data.load import load
from galc.methods.base import ASL, BCE, plain
from galc.noise import Noise, symmetric
from galc.study.params import ParameterError, Params
from tests.conftest import write_colours

SMALL = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "folds": 2, "fold_epochs": 12, "hidden": 32}
MODEL = {"backbone": "test_efficientnet", "weights": "none", "image_size": 32, "components": 16, "input_dropout": 0.0}


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> tuple[Dataset, torch.Tensor]:
    """The coloured blocks with 30 % of the labels of 300 images flipped, 100 trusted; and the true labels."""
    root = write_colours(tmp_path_factory.mktemp("blocks") / "data", train=400, test=4)
    true = load(root)
    trusted = torch.arange(400) < 100
    labels = true.labels.clone()
    labels[~trusted] = Noise(symmetric(7, 0.3)).inject(labels[~trusted], 0).noisy
    return replace(true, labels=labels, trusted=trusted), true.labels


@pytest.fixture
def by_colour(monkeypatch):
    """Features that see the blocks: their pixels, in place of an untrained backbone's view."""

    def pixels(_, given, *__):
        from galc.data.images import read_image

        return np.stack([read_image(file, 8).ravel() for file in given.files]).astype(np.float32)

    monkeypatch.setattr(run, "features", pixels)


def test_cleaned_labels_are_closer_to_the_truth(noisy, by_colour):
    given, true = noisy
    cleaned = Cleaning(given, **MODEL, **SMALL).result()
    silver = ~given.trusted
    before = int((given.labels ^ true)[silver].sum())
    assert int((cleaned.corrected() ^ true)[silver].sum()) < 0.5 * before
    wrong = cleaned.suspicion[silver][given.labels[silver] & ~true[silver]]
    right = cleaned.suspicion[silver][given.labels[silver] & true[silver]]
    assert float(wrong.median()) > 0.8 and float(right.median()) < 0.2
    assert float(cleaned.noise.transition.diagonal().mean()) == pytest.approx(0.7, abs=0.12)


def test_without_trusted_images_the_ranking_still_tells_right_from_wrong_and_the_loss_is_said(noisy, by_colour):
    given, true = noisy
    alone = replace(given, trusted=torch.zeros_like(given.trusted))
    cleaned = Cleaning(alone, **MODEL, **SMALL).result()
    assert cleaned.warnings and cleaned.warnings[0].startswith("There are no trusted images")
    wrong = cleaned.suspicion[given.labels & ~true]
    right = cleaned.suspicion[given.labels & true]
    above = (wrong[:, None] > right[None]).double().mean()
    assert float(above) > 0.8


def test_each_stage_is_computed_again_only_where_what_it_uses_changes(noisy, by_colour, monkeypatch):
    said = []
    cleaned = Cleaning(noisy[0], log=said.append, **MODEL, **SMALL).result()
    fitted = [text for text in said if "cross-fitting" in text]
    assert len(fitted) == 4  # of the trusted images; of all in context, in one round and two models of another
    said.clear()
    longer = Cleaning(noisy[0], log=said.append, **MODEL, **SMALL | {"epochs": 3})  # of the classifier alone
    assert torch.equal(longer.result().posterior, cleaned.posterior)
    assert not [text for text in said if "cross-fitting" in text]


def test_the_model_card_names_the_components_there_are_not_those_asked_for(noisy, by_colour):
    cleaning = Cleaning(noisy[0], **MODEL | {"components": 999}, **SMALL | {"epochs": 1, "fold_epochs": 1})
    cleaned = cleaning.result()
    assert "hidden layer of 32 units on 192 principal components" in cleaning.classifier(cleaned).card(cleaned)


def test_settings_that_a_cleaning_does_not_obey_are_refused_by_name(noisy):
    for name, value in {
        "mirror": True,
        "noise_kind": "pair",
        "split_seed": 1,
        "single_label_limit": 3,
        "epoch": 2,
    }.items():
        with pytest.raises(ParameterError, match=f"unknown parameter '{name}'"):
            Cleaning(noisy[0], **{name: value})
    with pytest.raises(ParameterError, match="parameter 'folds' = 1"):
        Cleaning(noisy[0], folds=1)


def test_one_class_is_cleaned(noisy, by_colour):
    given, true = noisy
    one = Dataset("one", ("red",), given.files, true[:, :1].clone(), trusted=given.trusted)
    lost = ~given.trusted & true[:, 0] & (torch.arange(400) % 4 == 0)
    one.labels[lost] = False
    cleaned = Cleaning(one, **MODEL, **SMALL).result()
    found = cleaned.suspicion[:, 0]
    there = ~given.trusted & true[:, 0] & ~lost
    absent = ~given.trusted & ~true[:, 0]
    assert float(found[lost].median()) > 4 * float(found[absent].median())
    assert float(found[there].median()) < 0.1 and cleaned.transition.estimate.tolist() == [[1.0]]


def test_what_a_model_takes_is_centred_and_scaled_and_has_no_more_components_than_there_are(noisy, monkeypatch):
    vectors = torch.randn(400, 6).numpy() * 3 + 5
    monkeypatch.setattr(run, "features", lambda *_: vectors)
    for asked, found in ((4, 4), (99, 6)):
        projection, stages = Cleaning(noisy[0], components=asked).stages
        x = stages.x
        assert x.shape == (400, found) and x.dtype == torch.float32 and torch.equal(projection(vectors), x)
        assert float(x.mean(0).abs().max()) < 1e-5 and float(x.var()) == pytest.approx(1, abs=0.05)


def test_images_without_a_label_are_cleaned_like_the_others(tmp_path: Path):
    root = write_colours(tmp_path / "data", train=12, test=4)
    (root / "train.csv").write_text("image,labels\n" + "".join(f"{n:03d}.png,{'red' * (n % 2)}\n" for n in range(12)))
    given = load(root / "train.csv", images=root / "images" / "train")
    assert len(given) == 12 and int(given.labels.sum()) == 6 and given.labels.shape == (12, 1)
    assert len(given.labelled()) == 6


def test_a_model_that_learns_something_else_is_not_taken_from_the_cache(noisy):
    given, _ = noisy
    small = SMALL | {"epochs": 1, "fold_epochs": 1}
    x = torch.randn(len(given), 4, generator=torch.Generator().manual_seed(0))
    stages = OwnStages(given, x, Params(**small))
    loss, targets = plain(BCE), given.labels.float()
    some, more = (Noise(symmetric(7, share)) for share in (0.3, 0.5))
    first = stages.second_round(some, targets, loss)
    for others in ((more, targets, loss), (some, 1 - targets, loss), (some, targets, plain(ASL))):
        assert not torch.equal(stages.second_round(*others), first)
    assert torch.equal(stages.second_round(some, targets, loss), first)
