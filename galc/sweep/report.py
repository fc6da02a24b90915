"""What a sweep leaves behind: executed notebooks as HTML pages, and the table of all runs.

A page has text, figures and tables inside it, no code cells, no script, nothing to fetch.
"""

import html
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from string import Template

import pandas as pd

from galc import store
from galc.checks import needs
from galc.study.run import RunRecord
from galc.study.stage_cache import code_digest

RUNS, PAGE = "results.parquet", Path(__file__).with_name("page.html")

# Formats that need a script. A static picture or table beside one is shown in its place; mere text (a bar) is not.
INTERACTIVE = ("application/vnd.jupyter.widget-view+json", "application/javascript")


def from_notebook(executed: Path, page: Path) -> Path:
    """Write ``page`` from an executed notebook, whole or not at all; returns ``page``.

    Text cells and outputs are kept, code cells and progress bars are not. Raises ``FileNotFoundError`` if there is no
    such notebook, ``ValueError`` if it holds no output or a cell failed: a page of it would look complete.
    """
    return write_page(page, *chapter(executed))


def from_notebooks(executed: Sequence[Path], page: Path, title: str, lead: str = "") -> Path:
    """The same for several notebooks, one chapter each, behind ``title``, ``lead`` and a table of contents."""
    contents, sections = [], []
    for path in executed:
        heading, body = chapter(path)
        contents.append(f'<li><a href="#{path.stem}">{html.escape(heading)}</a></li>')
        sections.append(f'<section id="{path.stem}">\n{body}\n</section>')
    head = f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(lead)}</p>\n<nav><ol>\n" + "\n".join(contents)
    return write_page(page, title, "\n".join([f"<header>\n{head}\n</ol></nav>\n</header>", *sections]))


def chapter(executed: Path) -> tuple[str, str]:
    """The first heading of an executed notebook, and its text and outputs as HTML. Raises as `from_notebook` does."""
    notebook = needs("nbformat", "study").read(executed, as_version=4)
    check_executed(notebook.cells, executed)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(static, cell.outputs) if output is not None]
    options = {"template_name": "basic", "exclude_input": True, "exclude_output_prompt": True}
    body, _ = needs("nbconvert", "study").HTMLExporter(**options).from_notebook_node(notebook)
    body = re.sub(r"<script\b.*?</script\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    body = re.sub(r'<a class="anchor-link".*?</a>|(?<=<h\d) id="[^"]*"| id="cell-id=[^"]*"', "", body)  # not unique
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^# +(.+)$", text, flags=re.MULTILINE)
    return heading[1].strip() if heading else executed.stem, body


def write_page(page: Path, title: str, body: str, footer: str = "") -> Path:
    """A page of ready HTML between plain title and footer."""
    template = Template(PAGE.read_text(encoding="utf-8"))
    return store.write_text(page, template.substitute(title=html.escape(title), body=body, footer=html.escape(footer)))


def check_executed(cells: list, path: Path) -> None:
    """Raise ``ValueError`` unless a notebook's cells have outputs and none failed."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    if not outputs:
        raise ValueError(f"{path} holds no output: execute it first (papermill, or JupyterLab)")
    for output in outputs:
        if output.output_type == "error":
            raise ValueError(f"{path} has a failed cell ({output.ename}: {output.evalue}): mend and execute it again")


def static(output):
    """An output in the form that needs no script, or ``None``: progress bars (standard error, widgets) are left out."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    scripted = [kind for kind in INTERACTIVE if output.data.pop(kind, None) is not None]
    return None if scripted and set(output.data) <= {"text/plain"} else output


# --- the table of all runs -------------------------------------------------------------------------------------------


def add_runs(records: Sequence[RunRecord]) -> Path:
    """Put runs into ``results.parquet``, a row each, in the place of older ones with the same parameters.

    A row has all parameters, the summary, the code that computed it, its file, and ``key``, which identifies it.
    Processes write one after the other, and a reader sees the old table or the new one. A broken table is reported,
    and begun anew. Returns its path.
    """
    path, rows = store.outputs() / RUNS, []
    for record in records:
        params, origin = record.details["params"], {"code": code_digest(), "file": record.details["file"]}
        rows.append({"key": store.digest(params)} | params | record.summary | origin)
    with store.locked(path.with_name(".results.lock")):
        table = pd.DataFrame([*_runs(path), *rows]).drop_duplicates("key", keep="last", ignore_index=True)
        with store.atomic(path) as temporary:
            table.to_parquet(temporary, index=False)
    return path


def _runs(path: Path) -> list[dict]:
    try:
        table = pd.read_parquet(path)
        if "key" not in table:
            raise ValueError("it has no column 'key'")
        return table.to_dict("records")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        warnings.warn(f"{path} is broken ({error}); it is begun anew, with the runs of this sweep", stacklevel=3)
        return []
