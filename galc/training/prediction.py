"""What a model says of images: the loop that trains nothing."""

import torch
from torch import Tensor, nn

from galc.training import loader, memory, parallel
from galc.training.batch import Transform
from galc.training.precision import autocast, in_layout


@torch.inference_mode()
def predict(
    model: nn.Module,
    inputs: Tensor,
    index: Tensor | None = None,
    transform: Transform | None = None,
    batch_size: int = 512,
    bf16: bool = False,
) -> Tensor:
    """(n, K) float32 logits, on the CPU, of a model in eval mode for ``inputs[index]`` (all inputs without index).

    Each of several processes takes a part, and gets all. A batch that does not fit in a GPU's memory is halved.
    """
    model.eval()
    device = next(model.parameters()).device
    transform = transform or (lambda batch: batch)
    index = torch.arange(len(inputs)) if index is None else index
    everyone = len(index) < parallel.count()  # so few that each process takes them all
    own = torch.arange(len(index)) if everyone else parallel.share(torch.arange(len(index)))

    def forward(batch: Tensor) -> Tensor:
        try:
            with autocast(device, bf16):
                return model(in_layout(transform(batch), model)).float()
        except memory.OUT:
            if len(batch) == 1:
                raise
        return torch.cat([forward(part) for part in batch.chunk(2)])

    stream = loader.batches(inputs, index[own].split(batch_size), device)
    rows = torch.cat([forward(batch).cpu() for batch in stream])
    return rows if everyone else parallel.gathered(rows, int(own[0]), len(index))
