"""The review widget: suspicious labels as a grid of images, decided from the keyboard and saved one by one.

    reviewer = Reviewer(cleaned, folder)   # the last line of a cell: reviewer
    reviewer.precision                     # how good the ranking is, from the labels reviewed so far
    reviewer.cleaned                       # with the decisions, to be exported

Tab comes to the controls and then to one card, where `KEYS` do the rest. O opens a field for any other class of the
image: Enter adds the class that is named, or removes it where the image has it; Escape comes back to the card. Each
part has a class to find it by, galc-show, galc-kind, ..., and the whole galc-review. Where no widget can live (GitHub,
papermill's output, HTML), it is the page of `galc.clean.report`.
"""

import html
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from galc.checks import needs

needs("anywidget", "study")

import anywidget
import ipywidgets
import numpy as np
import traitlets

from galc.clean import Cleaned, report
from galc.clean.review import DECISIONS, Decision, Precision, Review, latest, precision, read, sample
from galc.explorer.widget import Status, dropdown, line

PAGE = 20  # cards
KEYS = "Keys: K keep, R remove, A add, O another class, U undo; arrows move, N and P turn the page."


class Grid(anywidget.AnyWidget):
    """The cards of one page. It holds no decisions: it sends what was asked for, and shows what came of it."""

    _esm, _css = report.ASSETS / "review.js", report.ASSETS / "review.css"
    cards = traitlets.List().tag(sync=True)
    chosen = traitlets.List().tag(sync=True)  # an action a card, "" while it is undecided
    decided = traitlets.List().tag(sync=True)  # pairs of class and present a card: all decisions about its image
    classes = traitlets.List().tag(sync=True)  # the names of all; they never change, so they are sent once


def counts(actions: list[str]) -> str:
    """ "1 kept as it is, 0 removed, 2 added"."""
    return ", ".join(f"{actions.count(action):,} {word}" for action, word in report.DONE.items())


class Reviewer:
    """A review of ``cleaned.suspicious``; decisions go to the decisions.json of ``folder``, where `Cleaned` has them.

    "A sample" shows ``drawn`` of the ``first`` most suspicious labels, for the precision at ``first``. It begins where
    an earlier review ended. An error (full disk) is shown in the status line, and raised; what was decided before is on
    the disk. Raises ValueError for a file of decisions that holds none.
    """

    def __init__(self, cleaned: Cleaned, folder: Path, first: int = 200, drawn: int = 20):
        self.review = Review(cleaned.suspicious, Path(folder) / DECISIONS)
        self._cleaned, self.first, self.drawn = cleaned, first, drawn
        self.show = dropdown("show", [(f"a sample of {drawn} of the first {first:,}", "sample"), ("all", "all")])
        self.kind = dropdown("kind", [("wrong and missing", ""), ("wrong", "wrong"), ("missing", "missing")])
        number = self.review.table["class"].value_counts()
        classes = [(f"{name} ({number[name]:,})", name) for name in sorted(number.index[number > 0])]
        self.label = dropdown("class", [("all", ""), *classes])
        words = {"previous": "Previous page", "next": "Next page", "undo": "Undo"}
        self.buttons = {name: ipywidgets.Button(description=text) for name, text in words.items()}
        self.status, self.where, self.summary = Status(), ipywidgets.HTML(), ipywidgets.HTML()
        self.grid = Grid(classes=list(cleaned.classes))
        self._made_on: dict[Decision, int] = {}  # the row of the card, of decisions of this session
        self.begin()
        self.widget = self._arranged()

    # --- what is shown ---------------------------------------------------------------------------------------------

    @property
    def listed(self) -> np.ndarray:
        """Places in the table of the labels of the chosen kind and class, most suspicious first."""
        chosen = np.ones(len(self.review.table), bool)
        for column, control in (("kind", self.kind), ("class", self.label)):
            if control.value:
                chosen &= (self.review.table[column] == control.value).to_numpy()
        return chosen.nonzero()[0]

    @property
    def sampled(self) -> np.ndarray:
        """Places in the table of the sample of the first listed ones."""
        listed = self.listed
        return listed[sample(len(listed), self.first, self.drawn)]

    @property
    def rows(self) -> np.ndarray:
        """Places in the table of what is shown."""
        return self.sampled if self.show.value == "sample" else self.listed

    @property
    def precision(self) -> Precision:
        """The precision at `first` of the listed labels, from those of the sample that are decided."""
        return precision(self.review.decided(), self.sampled, min(self.first, len(self.listed)))

    @property
    def pages(self) -> int:
        """The number of pages, 1 at least."""
        return max(1, -(-len(self.rows) // PAGE))

    @property
    def cleaned(self) -> Cleaned:
        """The same with all decisions that are on the disk."""
        return replace(self._cleaned, decisions=latest(read(self.review.path)))

    @property
    def text(self) -> str:
        """How far the review is, and what it says about the ranking."""
        listed = list(self.review.decided().values())
        others = [self._cleaned.action(*one) for one in self._known() if one[:2] not in self.review.rows]
        text = f"Decided: {len(listed):,} of {len(self.review.table):,} labels ({counts(listed)})"
        if others:
            text += f", and {len(others):,} not among these ({counts(others)})"
        return f"{text}. {self.precision}"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """The widget, and for those who cannot show it the page of images."""
        cards = report.cards(self._cleaned, self._shown(), self.review.decided())
        still = {"text/plain": self.text, "text/html": f"<p>{html.escape(self.text)}</p>{report.figures(cards)}"}
        return self.widget._repr_mimebundle_() | still

    # --- what is done ----------------------------------------------------------------------------------------------

    def decide(self, row: int, action: str) -> None:
        """Save a decision about a row of the table ("keep", "remove" or "add"), and show it."""
        with self.status.shown():
            self._made(row, self.review.decide(row, action))

    def decide_class(self, row: int, name: str, present: bool) -> None:
        """Save whether any class is on the image of a row of the table, and show it. Raises ValueError for no class."""
        with self.status.shown():
            if name not in self._cleaned.classes:
                raise ValueError(f"{name!r} is none of the {len(self._cleaned.classes):,} classes; nothing is saved")
            self._made(row, self.review.add(Decision(self.review.table["file"][row], name, present)))

    def undo(self) -> None:
        """Take back the last decision, and go to the card that it was made on, or one of its image, if it is listed."""
        with self.status.shown():
            decision = self.review.undo()
            if decision and (place := self._place(decision)) is not None:
                self.turn(place // PAGE - self.page)
                self.grid.send({"focus": place % PAGE})
            self._mark()
            self.status.say(f"undone: {self._words(decision)}" if decision else "nothing to undo")

    def begin(self, change=None) -> None:
        """Show the first page with a label that is not decided, or the first of all."""
        with self.status.shown():
            decided, places = self.review.decided(), enumerate(self.rows.tolist())
            self.page = next((place // PAGE for place, row in places if row not in decided), 0)
            self.update()

    def turn(self, by: int) -> None:
        """Go ``by`` pages on, as far as there are any."""
        with self.status.shown():
            page = min(max(self.page + by, 0), self.pages - 1)
            if page != self.page:
                self.page = page
                self.update()

    def update(self) -> None:
        """Show the page that the controls say."""
        with self.grid.hold_sync():
            self.grid.cards = report.cards(self._cleaned, self._shown(), {})
            self._mark()
        self.buttons["previous"].disabled = self.page == 0
        self.buttons["next"].disabled = self.page == self.pages - 1
        place = f"page {self.page + 1:,} of {self.pages:,}"
        self.where.value = line(place if self.grid.cards else "no suspicious label of this kind and class")
        self.status.say("")

    # --- the widget ------------------------------------------------------------------------------------------------

    def _shown(self) -> list[int]:
        return self.rows[self.page * PAGE : (self.page + 1) * PAGE].tolist()

    def _made(self, row: int, decision: Decision) -> None:
        self._made_on[decision] = row
        self.status.say(f"{self._words(decision)}, saved")
        self._mark()

    def _place(self, decision: Decision) -> int | None:
        """Where among `rows` the card is to which undoing a decision goes."""
        rows = self.rows
        found = np.flatnonzero(rows == self._made_on.get(decision, self.review.rows.get(decision[:2])))
        if not len(found):
            found = np.flatnonzero(self.review.table["file"].to_numpy()[rows] == decision.file)
        return int(found[0]) if len(found) else None

    def _mark(self) -> None:
        decided, rows = self.review.decided(), self._shown()
        about = defaultdict(list)
        for file, name, present in self._known():
            about[file].append((name, present))
        with self.grid.hold_sync():
            self.grid.chosen = [decided.get(row, "") for row in rows]
            self.grid.decided = [about[file] for file in self.review.table["file"].iloc[rows]]
        self.summary.value = f"{html.escape(self.text)}<br>{KEYS}"

    def _known(self) -> list[Decision]:
        """The decisions that count on images and classes that there are: others change no label."""
        found = (Decision(*pair, present) for pair, present in self.review.latest().items())
        return [one for one in found if self._cleaned.place(one.file, one.name)]

    def _words(self, decision: Decision) -> str:
        """ "dog (000012.jpg): removed", what is now true of the label of a decision."""
        present = self.review.latest().get((decision.file, decision.name))
        action = "" if present is None else self._cleaned.action(decision.file, decision.name, present)
        # isolated, so that a name written from right to left does not turn the sentence round
        name, file = (f"\u2068{text}\u2069" for text in (decision.name, Path(decision.file).name))
        return f"{name} ({file}): {report.DONE.get(action, 'undecided')}"

    def _asked(self, widget, message, buffers) -> None:
        """What the grid's keys and buttons send."""
        match message:
            case {"do": "decide", "row": int(row), "action": str(action)}:
                self.decide(row, action)
            case {"do": "class", "row": int(row), "name": str(name), "present": bool(present)}:
                self.decide_class(row, name, present)
            case {"do": "undo"}:
                self.undo()
            case {"do": "page", "by": int(by)}:
                self.turn(by)

    def _arranged(self) -> ipywidgets.VBox:
        """All parts, each with its class, and what they do."""
        choices = {"show": self.show, "kind": self.kind, "class": self.label}
        parts = choices | self.buttons | {"page": self.where}
        controls = ipywidgets.Box(list(parts.values()), layout={"flex_flow": "row wrap"})
        whole = ipywidgets.VBox([self.summary, controls, self.status, self.grid])
        for name, part in (parts | {"status": self.status, "summary": self.summary, "review": whole}).items():
            part.add_class(f"galc-{name}")
        for control in choices.values():
            control.observe(self.begin, "value")
        for name, do in {"previous": lambda: self.turn(-1), "next": lambda: self.turn(1), "undo": self.undo}.items():
            self.buttons[name].on_click(lambda _, do=do: do())
        self.grid.on_msg(self._asked)
        return whole
