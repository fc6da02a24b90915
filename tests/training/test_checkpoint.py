"""Checkpoints: whose they are, and what they hold; SIGTERM is noted, and after the block it is what it was before."""

import json
import os
import signal
import subprocess
import sys
import threading
from functools import cached_property, partial

import pytest
import torch
from torch import nn

from galc.estimators.base import Estimate
from galc.losses.asl import AsymmetricLoss
from galc.methods.base import ASL, METHODS, Weighted
from galc.noise import symmetric
from galc.training import checkpoint
from galc.training import loop as trainer
from galc.training.batch import TrainingSet
from galc.training.checkpoint import Preemption

# --- whose it is -----------------------------------------------------------------------------------------------------

C = Estimate(symmetric(4, 0.3))


def losses() -> dict:
    """Losses that differ from each other in one thing each."""
    data = TrainingSet(torch.zeros(9, 1), torch.arange(9), torch.zeros(9, 4), torch.zeros(9, dtype=torch.bool))
    corrected = lambda name, estimate=C: METHODS[name].training(None, estimate, data)[1]  # noqa: E731
    plain_ones = ("asl", "bce", "hill")
    names = ("galc-slr", "forward-noisy-or", "forward-linear", "galc-slr-literal", "galc-slr-literal-unclamped")
    appearing = Estimate(C.transition, torch.zeros(4), torch.full((4,), 0.1))
    return {name: corrected(name) for name in (*plain_ones, *names, "elr", "gce", "splc", "small-loss")} | {
        "another C": corrected("galc-slr", Estimate(symmetric(4, 0.2))),
        "something added": corrected("galc-slr", appearing),
        "weights": Weighted(ASL, torch.ones(9, 4)),
        "other weights": Weighted(ASL, torch.full((9, 4), 0.5)),
    }


def test_every_loss_has_an_identity_of_its_own_and_the_same_one_when_it_is_made_again():
    first, again = ({name: checkpoint.identity(loss) for name, loss in losses().items()} for _ in range(2))
    assert first == again
    assert len(set(first.values())) == len(first)


def test_the_settings_of_a_loss_count():
    assert checkpoint.identity(AsymmetricLoss()) == checkpoint.identity(AsymmetricLoss())
    others = [AsymmetricLoss(**own) for own in ({}, {"gamma_neg": 3.0}, {"clip": 0.1}, {"detach_focal": False})]
    assert len({checkpoint.identity(loss) for loss in others}) == 4


def test_functions_count_by_their_code_their_defaults_and_what_they_enclose():
    def made(number, default=1):
        return lambda x, y=default: x + y + number

    assert checkpoint.identity(made(1)) == checkpoint.identity(made(1))
    assert len({checkpoint.identity(f) for f in (made(1), made(2), made(1, 2), lambda x, y=1: x * y)}) == 4
    assert checkpoint.identity(partial(made, 1)) == checkpoint.identity(partial(made, 1))
    assert checkpoint.identity(partial(made, 1)) != checkpoint.identity(partial(made, 2))
    assert checkpoint.identity([1].count) != checkpoint.identity([1].index)


def test_an_object_that_holds_itself_has_an_identity():
    loss = AsymmetricLoss()
    object.__setattr__(loss, "itself", loss)
    assert checkpoint.identity(loss) != checkpoint.identity(AsymmetricLoss())


def test_what_an_object_has_worked_out_of_itself_does_not_count():
    class Square:
        def __init__(self, side):
            self.side = side

        @cached_property
        def area(self):
            return self.side**2

    asked = Square(3)
    assert asked.area == 9
    assert checkpoint.identity(asked) == checkpoint.identity(Square(3)) != checkpoint.identity(Square(4))


def test_sets_count_whatever_their_order_in_a_process():
    code = "from galc.training.checkpoint import identity; print(identity(lambda x: x in {'a', 'b', 'c', 'd'}))"
    seeds = ({**os.environ, "PYTHONHASHSEED": seed} for seed in "01")
    assert len({subprocess.check_output([sys.executable, "-c", code], env=seed) for seed in seeds}) == 1


def test_of_large_inputs_some_rows_are_read(monkeypatch):
    monkeypatch.setattr(checkpoint, "WHOLE", 40)
    inputs = torch.arange(40.0).reshape(10, 4)  # 160 bytes: every fifth row
    other, far = inputs.clone(), inputs.clone()
    other[5], far[6] = -1, -1
    assert checkpoint.identity(inputs) != checkpoint.identity(other)
    assert checkpoint.identity(inputs) == checkpoint.identity(far)
    assert checkpoint.identity(inputs[:9]) != checkpoint.identity(inputs)


# --- SIGTERM ------------------------------------------------------------


@pytest.fixture
def caught():
    """SIGTERM of this process is only noted."""
    got = []
    before = signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    yield got
    signal.signal(signal.SIGTERM, before)


def test_a_signal_in_the_block_is_noted_and_one_after_it_goes_where_it_went_before(caught):
    with Preemption() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked and not caught
    os.kill(os.getpid(), signal.SIGTERM)
    assert caught == [1]


def test_leaving_hands_the_signal_on_and_ends_the_process(caught):
    with pytest.raises(SystemExit) as end, Preemption() as stop:
        stop.leave()
    assert end.value.code == 143 and caught == [1]


def test_the_handler_is_put_back_after_an_error(caught):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), Preemption():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is handler


def test_off_the_main_thread_nothing_is_changed(caught):
    handler, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with Preemption() as stop:
            seen.append((stop.asked, signal.getsignal(signal.SIGTERM) is handler))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]


# --- the optimiser ------------------------------------------------------------


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def steps(net: nn.Module, optimizer, scheduler, number: int) -> None:
    for _ in range(number):
        net(torch.ones(2, 3, 3, 3)).square().sum().backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()


def test_a_stored_state_goes_on_as_if_nothing_had_happened():
    nets = [model(), model()]
    optimizers = [torch.optim.Adam(trainer.param_groups(net, None, 0.1), lr=0.1) for net in nets]
    schedulers = [trainer.one_cycle(optimizer, 0.1, 6, 0.3) for optimizer in optimizers]
    steps(nets[0], optimizers[0], schedulers[0], 3)
    nets[1].load_state_dict(nets[0].state_dict())
    stored = {name: value.clone() for name, value in checkpoint.slots(optimizers[0]).items()}
    checkpoint.load_slots(optimizers[1], stored, optimizers[0].state_dict()["param_groups"])
    schedulers[1].load_state_dict(json.loads(json.dumps(schedulers[0].state_dict())))
    for net, optimizer, scheduler in zip(nets, optimizers, schedulers, strict=True):
        steps(net, optimizer, scheduler, 3)
    for one, two in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, two)
