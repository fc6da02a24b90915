"""What makes the processor wait for a GPU, forbidden: so a test on a CPU says it of a step on any device."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# a value or a size that the processor needs to go on
READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten._unique2")


class NothingReadBack(TorchDispatchMode):
    """In the block, an operation whose result the processor would have to wait for is an AssertionError."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        indices = args[1] if name.startswith(("aten.index.", "aten.index_put")) else ()
        by_mask = any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices)
        if name.startswith(READS) or by_mask:
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))
