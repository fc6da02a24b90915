"""The optimiser: weight decay where it belongs, a moving average that warms up, a state that comes back whole."""

import torch
from torch import nn

from galc.training.optimizer import arrays, ema_decay, groups, load, one_cycle, schedule


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


class Slack(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(3, 3))
        self.frozen = nn.Parameter(torch.ones(3, 3), requires_grad=False)


def test_weight_decay_is_for_matrices_and_kernels_of_the_model_alone():
    net, loss = model(), Slack()
    names = {id(p): name for name, p in [*net.named_parameters(), *loss.named_parameters()]}
    decay, plain, learnt = groups(net, loss, 0.1)
    assert [names[id(p)] for p in decay["params"]] == ["0.weight", "3.weight"] and decay["weight_decay"] == 0.1
    assert [names[id(p)] for p in plain["params"]] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert [names[id(p)] for p in learnt["params"]] == ["matrix"]
    assert plain["weight_decay"] == learnt["weight_decay"] == 0
    assert len(groups(net, None, 0.1)) == len(groups(net, nn.BatchNorm1d(3, affine=False), 0.1)) == 2
    net[0].requires_grad_(False)
    assert [names[id(p)] for p in groups(net, None, 0.1)[0]["params"]] == ["3.weight"]


def test_the_moving_average_warms_up_to_its_limit():
    assert [ema_decay(step, 0.9) for step in (1, 3, 9)] == [0.1, 0.25, 0.5]
    assert ema_decay(10**6, 0.9997) == 0.9997


def steps(net: nn.Module, optimizer, scheduler, number: int) -> None:
    for _ in range(number):
        net(torch.ones(2, 3, 3, 3)).square().sum().backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()


def test_a_stored_state_goes_on_as_if_nothing_had_happened():
    nets = [model(), model()]
    optimizers = [torch.optim.Adam(groups(net, None, 0.1), lr=0.1) for net in nets]
    schedulers = [one_cycle(optimizer, 0.1, 6, 0.3) for optimizer in optimizers]
    steps(nets[0], optimizers[0], schedulers[0], 3)
    nets[1].load_state_dict(nets[0].state_dict())
    stored = {name: torch.from_numpy(value.copy()) for name, value in arrays(optimizers[0]).items()}
    load(optimizers[1], stored, optimizers[0].state_dict()["param_groups"])
    schedulers[1].load_state_dict(schedule(schedulers[0]))
    for net, optimizer, scheduler in zip(nets, optimizers, schedulers, strict=True):
        steps(net, optimizer, scheduler, 3)
    for one, two in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, two)
