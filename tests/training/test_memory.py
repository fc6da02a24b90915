"""Out of memory: what fits is found by trying, and said in words that mend it."""

import pytest
import torch

from galc.training import memory


@pytest.mark.parametrize(
    ("limit", "fits", "tried"), [(100, 64, [64]), (20, 16, [64, 32, 16]), (1, 1, None), (0, 0, None)]
)
def test_halves_are_tried_until_one_fits(limit, fits, tried):
    seen = []

    def step(images):
        seen.append(images)
        if images > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert memory.largest_that_fits(step, 128) == fits
    assert seen == (tried or [64, 32, 16, 8, 4, 2, 1])


def test_an_error_of_another_kind_is_not_taken_for_one_of_memory():
    def step(images):
        raise RuntimeError("misaligned address")

    with pytest.raises(RuntimeError, match="misaligned"):
        memory.largest_that_fits(step, 8)


def test_the_message_counts_all_processes():
    assert "'batch_size' = 64 was tried and fits" in memory.message(128, 16, processes=4)
    assert "smaller 'image_size'" in memory.message(128, 0)
    assert "bf16" in memory.message(128, 16) and "bf16" not in memory.message(128, 16, bf16=True)
