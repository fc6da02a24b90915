"""Several processes, one training: the same result as one process, in everything that is kept of it."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from ddp import together
from torch import nn

from galc import store
from galc.estimators.base import Estimate
from galc.methods.base import ASL, METHODS, plain
from galc.methods.galc_plus import Refined
from galc.noise import Noise, symmetric
from galc.study import run as study
from galc.study.params import checked
from galc.training import loop as trainer
from galc.training import models, parallel
from galc.training.augment import Augment, to_unit
from galc.training.batch import TrainingSet
from galc.training.loop import Recipe, fit
from galc.training.models import predict

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=1e-2, weight_decay=1e-2, ema_decay=0.9)
K = 4
C = symmetric(K, 0.3).float()
STAGES = SimpleNamespace(params=SimpleNamespace(epochs=4))


def features() -> TrainingSet:
    """21 of 40 images with 5 features: batches of 8, 8 and 5, which two processes share 4 + 4, 4 + 4 and 3 + 2."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randperm(40, generator=generator)[:21]
    targets = (torch.rand(21, K, generator=generator) < 0.4).float()
    return TrainingSet(torch.randn(40, 5, generator=generator), index, targets, torch.arange(21) % 3 == 0)


def pictures() -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (21, 3, 32, 32), dtype=torch.uint8, generator=generator)
    targets = (torch.rand(21, K, generator=generator) < 0.4).float()
    return TrainingSet(pixels, torch.arange(21), targets, torch.zeros(21, dtype=torch.bool))


def head() -> nn.Module:
    torch.manual_seed(0)
    return models.probe(5, K, 8, dropout=0.0)


def convnext() -> nn.Module:
    """Without BatchNorm, whose statistics CPU processes do not share."""
    torch.manual_seed(0)
    body = models.finetune("test_convnext", K, "none")
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in body.modules())
    return body


def loss_of(name: str):
    if name == "refined":
        data = features()
        q = torch.full((21, K), 0.4)
        return Refined(ASL, Noise(C), q, data.targets > 0.5, data.targets, data.trusted)
    return METHODS[name].training(STAGES, Estimate(C), features())[1]


def state(done, loss) -> dict:
    kept = {"model": done.model.state_dict(), "ema": done.ema.state_dict(), "steps": done.steps}
    kept["loss"] = loss.state_dict() if isinstance(loss, nn.Module) else {}
    kept["losses"] = torch.tensor([record["loss"] for record in done.history])
    kept["metrics"] = [{k: v for k, v in record.items() if k not in ("loss", "seconds")} for record in done.history]
    return kept


def norm(model: nn.Module) -> dict:
    logits = predict(model, features().inputs)
    return {"mean": round(float(logits.mean()), 5), "images": len(logits)}


def train(name: str, data: TrainingSet | None = None, **options) -> dict:
    loss = loss_of(name)
    done = fit(head(), data or features(), loss, RECIPE, 3, monitor=norm, **options)
    return state(done, loss)


def assert_close(got: dict, expected: dict) -> None:
    for part in ("model", "ema", "loss"):
        assert got[part].keys() == expected[part].keys()
        for name, value in expected[part].items():
            torch.testing.assert_close(got[part][name], value, rtol=1e-4, atol=1e-5, equal_nan=True, msg=name)
    torch.testing.assert_close(got["losses"], expected["losses"], rtol=1e-4, atol=1e-5)
    assert got["steps"] == expected["steps"]


def assert_same(one: dict, other: dict) -> None:
    for part in ("model", "ema", "loss"):
        for name, value in one[part].items():
            assert torch.equal(value.nan_to_num(-1.0), other[part][name].nan_to_num(-1.0)), name
    assert one["metrics"] == other["metrics"] and torch.equal(one["losses"], other["losses"])


LOSSES = ("asl", "galc-slr", "elr", "small-loss", "t-revision", "refined")


def train_all() -> list[dict]:
    return [train(name) for name in LOSSES]


def test_processes_train_what_one_does_whatever_the_loss_learns_or_remembers():
    first, *others = together(train_all, processes=3)  # 8 images are 3 + 3 + 2, the last 5 are 2 + 2 + 1
    for number, name in enumerate(LOSSES):
        assert_close(first[number], train(name))
        for other in others:
            assert_same(first[number], other[number])


def fine_tune() -> dict:
    data, loss = pictures(), plain(ASL)
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=1e-3)
    done = fit(convnext(), data, loss, recipe, 0, transform=Augment())
    return state(done, loss) | {"logits": predict(done.model, data.inputs, transform=to_unit)}


def run(parameters: dict) -> tuple:
    record = study.run(checked(parameters))
    return record.scores, record.summary["mAP"], record.estimate


def few() -> torch.Tensor:
    return predict(head(), features().inputs, torch.tensor([5]))


def work(parameters: dict) -> tuple:
    first = run(parameters)
    written = {path: path.stat().st_mtime_ns for path in store.outputs().rglob("*.safetensors")}
    again = run(parameters)
    assert written == {path: path.stat().st_mtime_ns for path in store.outputs().rglob("*.safetensors")}
    return fine_tune(), few(), first, again


def test_two_processes_do_a_fine_tuning_a_prediction_and_a_whole_study_as_one_does(tiny, private_outputs):
    one, other = together(work, tiny | {"method": "galc-slr"})
    # each image is augmented alike in one process and in two
    assert_same(one[0], other[0])
    assert_close(one[0], fine_tune())
    torch.testing.assert_close(one[0]["logits"], fine_tune()["logits"], rtol=1e-3, atol=1e-4)
    # less images than processes
    assert torch.equal(one[1], other[1]) and torch.equal(one[1], few())
    # both have what the first one has written, once
    for scores, accuracy, estimate in (one[3], other[2], other[3]):
        assert torch.equal(scores, one[2][0]) and accuracy == one[2][1] and torch.equal(estimate, one[2][2])
    stages = {path.parent.name for path in private_outputs.rglob("*.safetensors")}
    assert stages >= {"run", "silver", "clean", "estimate"} and "checkpoints" not in stages


class Terminated(Augment):
    """Sends SIGTERM to one process alone, in its fifth step."""

    def __init__(self, process: int):
        super().__init__()
        self.process, self.steps = process, 0

    def __call__(self, batch, draws):
        self.steps += 1
        if self.steps == 5 and parallel.rank() == self.process:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__call__(batch, draws)


def fine_tune_long(transform, checkpoint) -> dict:
    recipe, loss = Recipe(epochs=6, batch_size=2, learning_rate=1e-3), plain(ASL)
    return state(fit(convnext(), pictures(), loss, recipe, 0, transform=transform, checkpoint=checkpoint), loss)


def preempted(folder) -> tuple:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    trainer.AGREE = 4
    with pytest.raises(SystemExit):
        fine_tune_long(Terminated(process=1), folder / "c")
    record = store.read(folder / "c").record
    return record["epoch"], record["step"], fine_tune_long(Augment(), folder / "c"), fine_tune_long(Augment(), None)


def test_sigterm_to_one_process_stops_all_at_one_step_and_they_go_on_bit_for_bit(tmp_path):
    for epoch, step, resumed, whole in together(preempted, tmp_path):
        assert (epoch, step) == (0, 8)  # of ten steps an epoch
        assert_same(resumed, whole)


def test_several_gpus_share_the_statistics_of_batch_norm(monkeypatch):
    monkeypatch.setattr(parallel, "count", lambda: 2)
    body = models.finetune("test_efficientnet", K, "none")
    shared = parallel.with_shared_statistics(body, torch.device("cuda"))
    kinds = {type(m).__name__ for m in shared.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert kinds and all("Sync" in kind for kind in kinds)
    assert shared.state_dict().keys() == models.finetune("test_efficientnet", K, "none").state_dict().keys()
