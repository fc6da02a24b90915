"""Example images of the explorer as HTML: pictures with what became of their labels, in words and signs."""

import html
from collections.abc import Sequence

from galc.explorer.sources import Example
from galc.explorer.thumbnails import data_url


def gallery(examples: Sequence[Example], name: str) -> str:
    """Pictures whose label ``name`` was flipped, or a sentence that there is none.

    Lost labels are struck out, with "−" before them; gained ones bold, with "+". The alternative text says it all.
    """
    if not examples:
        return f"<p>No image lost its label <b>{html.escape(name)}</b>.</p>"
    figures = "".join(figure(example) for example in examples)
    heading = f"<p>Images that lost their label <b>{html.escape(name)}</b>:</p>"
    return f"{heading}<div class='galc-gallery'>{figures}</div>"


def figure(example: Example) -> str:
    """One picture, its labels below it: those that stayed, were lost, were gained."""
    kept, lost, gained = ([html.escape(name) for name in names] for names in example[1:])
    lines = [f"− <del>{name}</del>" for name in lost] + [f"+ <ins>{name}</ins>" for name in gained] + kept
    before, after = ", ".join(kept + lost), ", ".join(kept + gained)
    return (
        f"<figure><img src='{data_url(example.file)}' "
        f'alt="labels before: {before}; after: {after}"><figcaption>{"<br>".join(lines)}</figcaption></figure>'
    )
