"""The models: what the dropout of the probe does, and that a compiled model is the same model."""

import pytest
import torch
from torch import nn

from galc.training.models import Compiled, Dropout, in_layout, probe


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


# --- faster steps ------------------------------------------------------------


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))


def test_a_compiled_model_gives_the_same_and_trains_the_same_weights():
    own, images = model(), torch.rand(5, 3, 8, 8)
    compiled = Compiled(own, backend="aot_eager")
    torch.testing.assert_close(compiled(images), own(images))
    compiled(images).sum().backward()
    assert own[0].weight.grad is not None and next(iter(own.state_dict())) == "0.weight"


def test_full_and_last_batches_have_a_graph_each():
    sizes = []

    def backend(graph, inputs):
        sizes.append(next(i.shape[0] for i in inputs if i.ndim == 4 and i.shape[1:] == (3, 8, 8)))
        return graph.forward

    compiled = Compiled(model(), backend=backend)
    for size in (5, 5, 2, 5, 2):
        compiled(torch.rand(size, 3, 8, 8))
    assert sizes == [5, 2]


def test_a_model_that_cannot_be_compiled_goes_on_as_it_is_and_says_so_once():
    def broken(graph, inputs):
        raise RuntimeError("Cannot find a working triton installation")

    own, images = model(), torch.rand(5, 3, 8, 8)
    compiled = Compiled(own, backend=broken)
    with pytest.warns(UserWarning, match="torch.compile failed, the model goes on without it: .*triton"):
        assert torch.equal(compiled(images), own(images))
    assert torch.equal(compiled(images), own(images))  # a second warning would be an error


def test_an_error_of_the_model_itself_comes_out_as_the_model_raises_it():
    with pytest.warns(UserWarning, match="goes on without"), pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        Compiled(model(), backend="eager")(torch.rand(5, 3, 9, 9))


def test_images_of_a_convolutional_model_come_in_its_layout():
    images = torch.rand(2, 3, 8, 8)
    assert in_layout(images, model()).is_contiguous(memory_format=torch.channels_last)
    assert in_layout(images, nn.Linear(8, 2)) is images
    features = torch.rand(2, 8)
    assert in_layout(features, model()) is features
