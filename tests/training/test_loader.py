"""Batches of inputs: the same ones whatever memory they come from, and never more than asked for."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
import torch

from galc.training import loader

CPU = torch.device("cpu")


@pytest.fixture
def inputs(tmp_path) -> torch.Tensor:
    """40 images of 3 x 8 x 8 in a memory map."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), np.uint8))
    return torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c"))


def parts(n: int = 23, size: int = 5) -> list[torch.Tensor]:
    return loader.split(torch.randperm(40, generator=torch.Generator().manual_seed(1))[:n], size)


@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_streamed_batches_are_those_of_an_index_in_order(inputs, ahead):
    plain = list(loader.batches(inputs, parts(), CPU))
    streamed = list(loader.stream(inputs, parts(), CPU, ahead))
    assert len(plain) == len(streamed) == 5
    for one, other, part in zip(plain, streamed, parts(), strict=True):
        assert torch.equal(one, other) and torch.equal(one, inputs[part])


def test_no_more_batches_are_gathered_ahead_than_asked_for(inputs, monkeypatch):
    gathered, select = [], torch.index_select
    monkeypatch.setattr(torch, "index_select", lambda *a, **k: gathered.append(1) or select(*a, **k))
    stream = loader.stream(inputs, parts(40, 2), CPU, ahead=3)
    next(stream)
    time.sleep(0.1)
    assert len(gathered) == 4  # the one in hand and three ahead
    stream.close()


def test_leaving_a_stream_early_ends_its_thread(inputs):
    before = threading.active_count()
    stream = loader.stream(inputs, parts(40, 2), CPU)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before


def test_what_cannot_be_gathered_is_raised_where_the_batch_is_taken(inputs):
    with pytest.raises(IndexError):
        list(loader.stream(inputs, [torch.tensor([0, 40])], CPU))


def test_a_data_set_stays_on_a_gpu_while_it_fits_and_is_wanted(inputs, monkeypatch):
    free = [2 * inputs.nbytes]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 0))
    own = inputs.clone()
    copy = loader.resident(own, CPU)
    assert torch.equal(copy, inputs)
    free[0] = 0
    assert loader.resident(own, CPU) is copy  # not copied again
    assert loader.resident(inputs, CPU) is None
    assert len(loader._resident) == 1
    del own, copy
    gc.collect()
    assert not loader._resident


def test_a_gpu_keeps_the_copies_that_were_used_last_and_no_more(inputs, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * inputs.nbytes, 0))
    train, test, other = (inputs + n for n in range(3))
    first, second = loader.resident(train, CPU), loader.resident(test, CPU)
    assert loader.resident(train, CPU) is first and loader.resident(test, CPU) is second
    gone = weakref.ref(first)
    del first
    loader.resident(other, CPU)
    assert gone() is None and loader.resident(test, CPU) is second and len(loader._resident) == loader.COPIES


def test_the_paper_s_images_fit_beside_the_training_on_large_gpus_alone():
    size = 82_081 * 3 * 224 * 224
    assert [loader.fits(size, gib << 30) for gib in (16, 22, 24, 40, 80)] == [False, False, True, True, True]


def test_a_small_last_batch_joins_the_one_before_it():
    order = torch.arange(21)
    assert [len(part) for part in loader.split(order, 10)] == [10, 10, 1]
    assert [len(part) for part in loader.split(order, 10, least=2)] == [10, 11]
    assert torch.equal(torch.cat(loader.split(order, 10, least=4)), order)
    assert [len(part) for part in loader.split(order, 7, least=4)] == [7, 7, 7]
    with pytest.raises(ValueError, match="3 images to train on, at least 4 are needed"):
        loader.split(order[:3], 10, least=4)


# --- out of memory ------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "fits", "tried"), [(100, 64, [64]), (20, 16, [64, 32, 16]), (1, 1, None), (0, None, None)]
)
def test_halves_are_tried_until_one_fits_and_the_message_counts_all_processes(limit, fits, tried):
    seen = []

    def step(images):
        seen.append(images)
        if images > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    message = loader.too_large(512, step, 128, bf16=False, processes=4)
    assert message.startswith("'batch_size' = 512 does not fit in the memory") and "bf16" in message
    assert (f"'batch_size' = {4 * fits} was tried and fits" if fits else "a smaller 'image_size'") in message
    assert seen == (tried or [64, 32, 16, 8, 4, 2, 1])


def test_bfloat16_is_advised_to_those_alone_who_have_it_not():
    assert "bf16" not in loader.too_large(128, lambda images: None, 128, bf16=True)


def test_an_error_of_another_kind_is_not_taken_for_one_of_memory():
    def step(images):
        raise RuntimeError("misaligned address")

    with pytest.raises(RuntimeError, match="misaligned"):
        loader.too_large(8, step, 8, bf16=False)
