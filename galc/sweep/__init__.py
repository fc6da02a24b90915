"""A study file as a sweep (``galc sweep``): a notebook executed for every run, tables, pages.

    plan     what there is to execute for a study file, checked before anything starts, and the commands that do it
    kernel   one notebook executed, in a warm kernel

Here are the pages made of executed notebooks: text, figures and tables, no code cells, no script, nothing to fetch.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from galc import store
from galc.checks import needs

PAGE = Path(__file__).with_name("page.html")
# Formats that need a script. A static picture or table beside one is shown in its place; mere text (a bar) is not.
INTERACTIVE = ("application/vnd.jupyter.widget-view+json", "application/javascript")


def from_notebooks(executed: Sequence[Path], page: Path, title: str, lead: str = "") -> Path:
    """A page of executed notebooks, one `chapter` each, behind ``title``, ``lead`` and a table of contents."""
    contents, sections = [], []
    for path in executed:
        heading, body = chapter(path)
        contents.append(f'<li><a href="#{path.stem}">{html.escape(heading)}</a></li>')
        sections.append(f'<section id="{path.stem}">\n{body}\n</section>')
    head = f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(lead)}</p>\n<nav><ol>\n" + "\n".join(contents)
    return write_page(page, title, "\n".join([f"<header>\n{head}\n</ol></nav>\n</header>", *sections]))


def chapter(executed: Path) -> tuple[str, str]:
    """The first heading of an executed notebook, and its text and outputs as HTML, no code cells and progress bars.

    Raises ``FileNotFoundError`` if there is no such notebook, ``ValueError`` if it holds no output or a cell failed: a
    page of it would look complete.
    """
    notebook = needs("nbformat", "study").read(executed, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not (outputs := [output for cell in code for output in cell.outputs]):
        raise ValueError(f"{executed} holds no output: execute it first (papermill, or JupyterLab)")
    for output in outputs:
        if output.output_type == "error":
            raise ValueError(
                f"{executed} has a failed cell ({output.ename}: {output.evalue}): mend it, execute it again"
            )
    for cell in code:
        cell.outputs = [output for output in map(static, cell.outputs) if output is not None]
    options = {"template_name": "basic", "exclude_input": True, "exclude_output_prompt": True}
    body, _ = needs("nbconvert", "study").HTMLExporter(**options).from_notebook_node(notebook)
    body = re.sub(r"<script\b.*?</script\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    body = re.sub(r'<a class="anchor-link".*?</a>|(?<=<h\d) id="[^"]*"| id="cell-id=[^"]*"', "", body)  # not unique
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^# +(.+)$", text, flags=re.MULTILINE)
    return heading[1].strip() if heading else executed.stem, body


def write_page(page: Path, title: str, body: str, footer: str = "") -> Path:
    """A page of ready HTML between plain title and footer, written whole or not at all; returns ``page``."""
    template = Template(PAGE.read_text(encoding="utf-8"))
    return store.write_text(page, template.substitute(title=html.escape(title), body=body, footer=html.escape(footer)))


def static(output):
    """An output in the form that needs no script, or ``None``: progress bars (standard error, widgets) are left out."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    scripted = [kind for kind in INTERACTIVE if output.data.pop(kind, None) is not None]
    return None if scripted and set(output.data) <= {"text/plain"} else output
