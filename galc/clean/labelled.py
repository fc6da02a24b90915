"""Images with the labels that somebody gave them: what cleaning begins with, and what it ends in."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Labelled:
    """N images with K classes.

    name, source : of the data set; the path or name that it was read from
    classes      : K names; files: N image files
    labels       : (N, K) bool, as given; of trusted images the trusted ones
    trusted      : (N,) bool, images whose labels are taken to be right; none may be
    """

    name: str
    source: str
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: Tensor
    trusted: Tensor

    def __len__(self) -> int:
        return len(self.files)

    @property
    def num_classes(self) -> int:
        return len(self.classes)
