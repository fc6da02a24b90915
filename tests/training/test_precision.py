"""Faster steps: compiled models are the same models, and one that cannot be compiled is trained all the same."""

import pytest
import torch
from torch import nn

from galc.training.precision import Compiled, in_layout


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
