"""Executed notebooks as one HTML page: figures and tables inside it, no code cells, no script, nothing to fetch."""

import html
import re
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from galc import store

CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1, h2, h3 { line-height: 1.2; margin: 2em 0 0.5em; }
h1 { margin-top: 0; }
p, li { max-width: 44rem; }
img, svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.85em; margin: 1em 0; }
th, td { padding: 0.2em 0.7em; text-align: right; }
thead th { border-bottom: 1px solid #999; }
pre { background: #f6f6f6; padding: 0.7em 1em; overflow-x: auto; font-size: 0.8em; line-height: 1.35; }
code { font-size: 0.9em; }
.output { overflow-x: auto; }
header { border-bottom: 1px solid #ccc; padding-bottom: 1.5rem; margin-bottom: 3rem; }
header h1 { margin-bottom: 0.3em; }
section + section { border-top: 1px solid #ccc; margin-top: 5rem; padding-top: 3rem; }
footer { margin-top: 4rem; border-top: 1px solid #ccc; padding-top: 0.5rem; font-size: 0.8em; color: #666; }
@media print { body { max-width: none; margin: 0; } }
"""

# Formats that need a script. A static picture or table beside one is shown in its place; mere text (a bar) is not.
INTERACTIVE = ("application/vnd.jupyter.widget-view+json", "application/javascript")

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
{body}
<footer>{footer}</footer>
</body>
</html>
"""


def from_notebook(executed: Path, page: Path, title: str = "", footer: str = "") -> Path:
    """Write ``page`` from an executed notebook, whole or not at all; returns ``page``.

    Text cells and outputs are kept, code cells and progress bars are not. ``title`` (default: the notebook's first
    heading) and ``footer`` are plain text. Raises ``FileNotFoundError`` if there is no such notebook, ``ValueError``
    if it holds no output or a cell failed: a page of it would look complete.
    """
    heading, body = chapter(executed)
    return write_page(page, title or heading, body, footer)


def from_notebooks(executed: Sequence[Path], page: Path, title: str, lead: str = "", footer: str = "") -> Path:
    """The same for several notebooks, one chapter each, behind ``title``, ``lead`` and a table of contents."""
    contents, sections = [], []
    for path in executed:
        heading, body = chapter(path)
        contents.append(f'<li><a href="#{path.stem}">{html.escape(heading)}</a></li>')
        sections.append(f'<section id="{path.stem}">\n{body}\n</section>')
    head = f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(lead)}</p>\n<nav><ol>\n" + "\n".join(contents)
    return write_page(page, title, "\n".join([f"<header>\n{head}\n</ol></nav>\n</header>", *sections]), footer)


def chapter(executed: Path) -> tuple[str, str]:
    """The first heading of an executed notebook, and its text and outputs as HTML. Raises as `from_notebook` does."""
    notebook = nbformat.read(executed, as_version=4)
    check_executed(notebook, executed)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(static, cell.outputs) if output is not None]
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r"<script\b.*?</script\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    body = re.sub(r'<a class="anchor-link".*?</a>|(?<=<h\d) id="[^"]*"| id="cell-id=[^"]*"', "", body)  # not unique
    return first_heading(notebook) or executed.stem, body


def write_page(page: Path, title: str, body: str, footer: str) -> Path:
    """A page of ready HTML between plain title and footer."""
    return store.write_text(page, PAGE.format(title=html.escape(title), css=CSS, body=body, footer=html.escape(footer)))


def check_executed(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Raise ``ValueError`` unless the notebook has outputs and no failed cell."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    if not outputs:
        raise ValueError(f"{path} holds no output: execute it first (papermill, or JupyterLab)")
    for output in outputs:
        if output.output_type == "error":
            raise ValueError(f"{path} has a failed cell ({output.ename}: {output.evalue}): mend and execute it again")


def static(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """An output in the form that needs no script, or ``None``: progress bars (standard error, widgets) are left out."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    scripted = [kind for kind in INTERACTIVE if output.data.pop(kind, None) is not None]
    return None if scripted and set(output.data) <= {"text/plain"} else output


def first_heading(notebook: nbformat.NotebookNode) -> str:
    """The text of the first level-1 heading, or nothing."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (match := re.search(r"^# +(.+)$", cell.source, flags=re.MULTILINE)):
            return match[1].strip()
    return ""
