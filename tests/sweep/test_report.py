"""The page made from an executed notebook: all there is to look at, nothing else, and never half a page."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from galc import sweep
from galc.results import tables

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WIDGET = {"model_id": "1", "version_major": 2, "version_minor": 0}


def shown(**data) -> nbformat.NotebookNode:
    """A display output, its formats as keywords: png, html, text, widget."""
    kinds = {"png": "image/png", "html": "text/html", "text": "text/plain", "widget": sweep.INTERACTIVE[0]}
    return new_output("display_data", data={kinds[name]: value for name, value in data.items()})


def page_of(executed: Path, page: Path) -> Path:
    return sweep.write_page(page, *sweep.chapter(executed))


@pytest.fixture
def write(tmp_path):
    """Write a notebook with a heading and one code cell of the given outputs; return its path."""

    def write(*outputs):
        cells = [
            new_markdown_cell("# Noise & <labels>\n\nText *here*."),
            new_code_cell("secret = 1", outputs=[*outputs]),
        ]
        nbformat.write(new_notebook(cells=cells), tmp_path / "executed.ipynb")
        return tmp_path / "executed.ipynb"

    return write


def test_figures_tables_text_and_prints_are_inside_the_page(write, tmp_path):
    printed = new_output("stream", name="stdout", text="epoch 1  mAP 40.0 <b>\n")
    executed = write(
        shown(png=PIXEL, text="<Figure>"), shown(html="<table><tr><td>51.3 ± 0.6</td></tr></table>"), printed
    )
    text = page_of(executed, tmp_path / "new" / "report.html").read_text("utf-8")
    assert f"data:image/png;base64,{PIXEL}" in text and "<td>51.3 ± 0.6</td>" in text
    assert "epoch 1  mAP 40.0 &lt;b&gt;" in text and "<em>here</em>" in text
    assert "<title>Noise &amp; &lt;labels&gt;</title>" in text


def test_the_page_needs_no_script_and_no_network_and_shows_no_code(write, tmp_path):
    scripted = shown(html='<p>kept</p><script src="https://example.org/x.js">go()</script>')
    text = page_of(write(scripted, shown(png=PIXEL)), tmp_path / "report.html").read_text("utf-8")
    assert "<p>kept</p>" in text and "secret" not in text
    assert not re.search(r"<script|<link|@import|(src|href)\s*=\s*[\"']?(https?:)?//|url\(", text, re.IGNORECASE)


def test_progress_bars_are_left_out_and_a_widgets_static_picture_is_kept(write, tmp_path):
    bar = shown(widget=WIDGET, text="  0%|     | 0/3")
    noise = new_output("stream", name="stderr", text="50%|####")
    text = page_of(write(bar, noise, shown(widget=WIDGET, png=PIXEL)), tmp_path / "r.html").read_text("utf-8")
    assert "0%|" not in text and "widget" not in text and PIXEL in text


def test_a_given_title_and_a_footer_are_escaped(tmp_path):
    text = sweep.write_page(tmp_path / "r.html", "a < b", "<p>body</p>", "version <1>").read_text("utf-8")
    assert "<title>a &lt; b</title>" in text and "version &lt;1&gt;" in text and "<p>body</p>" in text


WIDE = pd.DataFrame({f"column {n}": [f"51.{n} ± 0.6"] * 3 for n in range(16)}, index=[f"method {n}" for n in range(3)])
WIDTHS = """() => [...document.querySelectorAll("body, table, pre, h1")].map(
  (e) => [e.tagName, e.getBoundingClientRect().left, e.getBoundingClientRect().right, e.scrollWidth, e.clientWidth])"""


@pytest.mark.parametrize("width", [1000, 400])
def test_what_is_wider_than_the_page_scrolls_within_itself_and_nothing_touches_the_edge(
    write, tmp_path, browser, width
):
    """A table of a notebook, one of a text cell, one of ready HTML (the report of a cleaning), a long line, a name."""
    styled = tables.styled(WIDE).to_html()
    executed = write(shown(html=styled), new_output("stream", name="stdout", text="epoch 1  mAP 40.0  " * 20))
    notebook = nbformat.read(executed, as_version=4)
    lines = ["|" + " word |" * 16, "|" + " --- |" * 16, "|" + " unbreakable |" * 16]
    notebook.cells += [new_markdown_cell("# " + "a_long_name_of_a_file" * 8), new_markdown_cell("\n".join(lines))]
    nbformat.write(notebook, executed)
    body = sweep.chapter(executed)[1] + styled
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(sweep.write_page(tmp_path / "r.html", "wide", body).as_uri())
    (_, _, _, scroll, client), *parts = page.evaluate(WIDTHS)
    assert scroll <= client and len(parts) == 6
    for name, left, right, _, _ in parts:
        assert left >= 16 and right <= width - 16, name
    assert all(scroll <= client for name, _, _, scroll, client in parts if name != "TABLE")
    page.set_viewport_size({"width": 680, "height": 900})  # what A4 has between its margins
    page.emulate_media(media="print")
    assert all(scroll <= client for _, _, _, scroll, client in page.evaluate(WIDTHS))  # paper does not scroll
    page.close()


def test_a_notebook_that_was_not_executed_or_failed_gives_no_page(write, tmp_path):
    with pytest.raises(ValueError, match=r"executed\.ipynb holds no output: execute it first"):
        page_of(write(), tmp_path / "r.html")
    failed = new_output("error", ename="KeyError", evalue="'mAP'", traceback=[])
    with pytest.raises(ValueError, match=r"failed cell \(KeyError: 'mAP'\)"):
        page_of(write(shown(png=PIXEL), failed), tmp_path / "r.html")
    with pytest.raises(FileNotFoundError, match="nothing"):
        page_of(tmp_path / "nothing.ipynb", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_several_notebooks_are_chapters_behind_a_table_of_contents(write, tmp_path):
    first = write(shown(png=PIXEL)).rename(tmp_path / "04_noise.ipynb")
    second = write(shown(html="<p>two</p>")).rename(tmp_path / "05_more.ipynb")
    text = sweep.from_notebooks([first, second], tmp_path / "r.html", "All <results>", "A lead.").read_text("utf-8")
    assert "<title>All &lt;results&gt;</title>" in text and "<h1>All &lt;results&gt;</h1>\n<p>A lead.</p>" in text
    places = [text.index(part) for part in ('href="#04_noise"', 'href="#05_more"', 'id="04_noise"', PIXEL)]
    assert places == sorted(places)
    assert text.index(PIXEL) < text.index('<section id="05_more">') < text.index("<p>two</p>")
    assert text.count("Noise &amp; &lt;labels&gt;</a></li>") == 2 and "secret" not in text
    assert re.findall(r'\bid="([^"]*)"', text) == ["04_noise", "05_more"]


def test_one_chapter_that_failed_gives_no_page_at_all(write, tmp_path):
    good = write(shown(png=PIXEL)).rename(tmp_path / "good.ipynb")
    failed = write(new_output("error", ename="KeyError", evalue="'mAP'", traceback=[]))
    with pytest.raises(ValueError, match=r"failed cell \(KeyError: 'mAP'\)"):
        sweep.from_notebooks([good, failed], tmp_path / "r.html", "title")
    assert not (tmp_path / "r.html").exists()


def test_an_interrupted_write_keeps_the_old_page(write, tmp_path, monkeypatch):
    page = page_of(write(shown(png=PIXEL)), tmp_path / "r.html")
    old = page.read_text("utf-8")
    monkeypatch.setattr(sweep.store.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        page_of(write(shown(html="<p>new</p>")), page)
    assert page.read_text("utf-8") == old


def test_every_figure_of_a_notebook_that_was_really_executed_is_in_the_page(tmp_path):
    setup = "import numpy as np\nfrom galc import plots"
    draw = "plots.transition_heatmap(np.eye(2), ['cat', 'dog']);"
    notebook = new_notebook(cells=[new_code_cell(setup), new_code_cell(draw), new_code_cell(draw)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    nbformat.write(notebook, tmp_path / "executed.ipynb")
    text = page_of(tmp_path / "executed.ipynb", tmp_path / "r.html").read_text("utf-8")
    assert text.count("data:image/png;base64") == 2
