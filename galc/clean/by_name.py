"""The labels of images by the names of file and class, and what people decided about them, listed or not."""

from collections.abc import Iterator, Mapping, Sequence

from galc.clean.labelled import Labelled
from galc.clean.review import done

Latest = Mapping[tuple[str, str], bool]  # (file, class) -> whether the class is on the image, as `Review.latest` says


class ByName:
    """The given labels of N images and K classes, found by name. What the data do not have is not given."""

    def __init__(self, labelled: Labelled):
        self._labels = labelled.labels
        self._row = {str(file): n for n, file in enumerate(labelled.files)}
        self._column = {name: k for k, name in enumerate(labelled.classes)}

    def check(self, name: str) -> None:
        """Raises ValueError for what is no class, to the letter."""
        if name not in self._column:
            raise ValueError(f"{name!r} is none of the {len(self._column):,} classes; nothing is saved")

    def given(self, file: str, name: str) -> bool:
        """Whether a label is given."""
        known = file in self._row and name in self._column
        return known and bool(self._labels[self._row[file], self._column[name]])

    def action(self, file: str, name: str, present: bool | None) -> str:
        """ "keep", "remove" or "add", by which a label came to be present or not; "" where None is decided."""
        return "" if present is None else done(self.given(file, name), present)

    def known(self, latest: Latest) -> Iterator[tuple[str, str, bool]]:
        """The decisions on images and classes that there are: others change no label."""
        for (file, name), present in latest.items():
            if file in self._row and name in self._column:
                yield file, name, present

    def of_files(self, files: Sequence[str], latest: Latest) -> list[list[tuple[str, bool]]]:
        """For each file what is decided about it: pairs of class and present."""
        found: dict[str, list[tuple[str, bool]]] = {file: [] for file in files}
        for file, name, present in self.known(latest):
            if file in found:
                found[file].append((name, present))
        return [found[file] for file in files]
