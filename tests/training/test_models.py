"""The probe: what its dropout does."""

import pytest
import torch

from galc.training.models import Dropout, probe


def test_dropout_drops_the_share_it_is_given_and_keeps_the_mean():
    torch.manual_seed(0)
    got = Dropout(0.7)(torch.ones(400, 500))
    assert got.unique().tolist() == pytest.approx([0, 1 / 0.3])
    assert float((got == 0).float().mean()) == pytest.approx(0.7, abs=0.005)  # 5 standard errors
    assert float(got.mean()) == pytest.approx(1.0, abs=0.02)


def test_dropout_is_drawn_from_the_seed_anew_at_each_call():
    layer, x = Dropout(0.5), torch.ones(8, 64)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)


def test_dropout_passes_gradients_where_it_passed_values():
    x = torch.ones(50, 50, requires_grad=True)
    got = Dropout(0.4)(x)
    got.sum().backward()
    assert torch.equal(x.grad, got.detach())


def test_dropout_rests_in_evaluation_and_where_it_is_zero():
    x = torch.randn(20, 30)
    assert Dropout(0.0)(x) is x and Dropout(0.9).eval()(x) is x
    model = probe(30, 4, hidden=16, dropout=0.9).eval()
    assert torch.equal(model(x), model(x))


def test_input_dropout_hides_components_from_the_whole_network():
    torch.manual_seed(0)
    model = probe(30, 4, hidden=16, dropout=0.0, input_dropout=0.5)
    seen = []
    model[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.ones(200, 30)
    model(x)
    assert float((seen[0] == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(model.eval()(x), model(x))
    assert [type(layer) for layer in probe(30, 4)] == [type(layer) for layer in model][1:]


def test_dropout_keeps_the_type_it_is_given():
    assert Dropout(0.5)(torch.ones(4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
