"""The review and the gallery as a user has them: in JupyterLab and as a page, in a real browser, with its keyboard.

One JupyterLab serves all tests of the review; each begins with no decision, on the first page.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from cleaned import CLASSES as NAMES
from cleaned import example
from lab import SECOND, Lab, Notebook
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import expect

from galc.clean import report
from galc.clean.review import DECISIONS, read
from galc.clean.reviewer import PAGE

CLASSES = (*NAMES, "Bus")  # there is a "bus"
CODE = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from cleaned import example
from galc.clean.reviewer import Reviewer

reviewer = Reviewer(example(Path({folder!r}), 40, {classes!r}), Path({folder!r}), first=60, drawn=30)
reviewer
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def notebook(browser, folder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    code = CODE.format(tests=str(Path(__file__).parents[1]), folder=str(folder), classes=CLASSES)
    cells = [new_markdown_cell("# Review"), new_code_cell(code), new_markdown_cell("end")]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    path = tmp_path_factory.mktemp("notebooks") / "review.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    with Lab(tmp_path_factory.mktemp("lab"), [path], {}) as lab:
        notebook = Notebook(browser, lab, path.name)
        notebook.run_all()
        yield notebook
        notebook.close()


@pytest.fixture
def review(notebook, folder) -> Iterator[Notebook]:
    """No decision, the first page of all labels, the focus on the first card; an error that is left fails the test."""
    for _ in read(folder / DECISIONS):
        press_button(notebook, "undo")
        notebook.rest()
    for control in ("kind", "class"):
        notebook.page.locator(f".galc-{control} select").select_option(index=0)
    notebook.page.locator(".galc-show select").select_option(label="all")
    while notebook.page.locator(".galc-previous:enabled").count():
        press_button(notebook, "previous")
    expect(notebook.page.locator(".galc-page")).to_have_text("page 1 of 10")
    notebook.rest()
    notebook.page.locator(".galc-card").first.focus()
    yield notebook
    assert notebook.errors == [] and notebook.page.locator(".galc-error").all_inner_texts() == []


def press_button(review, name: str) -> None:
    review.page.locator(f".galc-{name}").click()
    review.page.wait_for_timeout(100)
    review.rest()


def label(review, place: int) -> str:
    """What a screen reader says of a card."""
    return review.page.locator(".galc-card").nth(place).get_attribute("aria-label")


def shown(review) -> int:
    """The number of the page that is shown."""
    return int(re.match(r"page (\d+) of", review.page.locator(".galc-page").inner_text())[1])


def focused(review) -> int:
    """The place of the card that has the focus, or a button inside it; −1 if none has."""
    return review.page.evaluate(
        "() => [...document.querySelectorAll('.galc-card')].findIndex(card => card.contains(document.activeElement))"
    )


def actions(review, place: int) -> list[str]:
    return review.page.locator(".galc-card").nth(place).locator("button[data-action]").all_inner_texts()


def decide(review, place: int) -> str:
    """Decide against the label of the card that has the focus, by its key; returns what was decided."""
    action = actions(review, place)[1]
    review.page.keyboard.press(action[0])
    return action.lower()


def test_the_whole_page_is_there_with_its_pictures_and_names(review):
    cards = review.page.locator(".galc-card")
    expect(cards).to_have_count(PAGE)
    assert all(picture.evaluate("image => image.naturalWidth > 20") for picture in cards.locator("img").all())
    assert re.fullmatch(
        r"1 of 20: .+, (not )?given, (over )?\d+ % likely (wrong|missing), undecided\. Labels given: .+",
        label(review, 0),
    )
    assert review.page.evaluate("() => document.querySelectorAll('.galc-cards script, .galc-cards i').length") == 0
    assert any(CLASSES[1] in text for text in cards.all_inner_texts())


def test_one_key_decides_saves_and_goes_on_and_another_undoes(review, folder):
    cells = review.page.locator(".jp-Cell").count()
    first = decide(review, 0)
    review.until(lambda: len(read(folder / DECISIONS)) == 1)
    review.page.keyboard.press("k")
    review.until(lambda: len(read(folder / DECISIONS)) == 2)
    assert focused(review) == 2
    review.until(lambda: {"remove": "removed", "add": "added"}[first] in label(review, 0))
    review.until(lambda: "kept as it is" in label(review, 1))
    pressed = review.page.locator(".galc-card").first.locator("button[aria-pressed=true]")
    assert pressed.inner_text().lower() == first
    expect(review.page.locator(".galc-summary")).to_contain_text("Decided: 2 of")
    review.page.keyboard.press("u")
    review.until(lambda: "undecided" in label(review, 1))
    assert len(read(folder / DECISIONS)) == 1
    review.until(lambda: focused(review) == 1)
    assert review.page.locator(".jp-Cell").count() == cells  # "a" and "r" are not JupyterLab's here


def test_a_key_that_does_not_fit_the_label_does_nothing(review, folder):
    other = "r" if "Add" in actions(review, 0) else "a"
    cells = review.page.locator(".jp-Cell").count()
    for key in (other, "b", "x", "d", "d"):
        review.page.keyboard.press(key)
    review.page.locator(".galc-card button").first.focus()
    for key in ("b", "x", "d", "d"):
        review.page.keyboard.press(key)
    review.page.wait_for_timeout(500)
    assert focused(review) == 0 and read(folder / DECISIONS) == [] and review.page.locator(".jp-Cell").count() == cells


def test_arrows_home_and_end_move_between_cards(review):
    columns = review.page.evaluate(
        "() => getComputedStyle(document.querySelector('.galc-cards')).gridTemplateColumns.split(' ').length"
    )
    places = []
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp", "End", "ArrowRight", "Home", "ArrowLeft"):
        review.page.keyboard.press(key)
        places.append(focused(review))
    assert places == [1, 1 + columns, columns, 0, 0, PAGE - 1, PAGE - 1, 0, 0] and columns > 2


def test_n_and_p_turn_the_page_and_the_focus_stays_on_a_card(review):
    name = label(review, 0)
    review.page.keyboard.press("n")
    review.until(lambda: shown(review) == 2)
    assert focused(review) == 0 and label(review, 0) != name
    decide(review, 0)
    review.until(lambda: "undecided" not in label(review, 0))
    review.page.keyboard.press("PageUp")
    review.until(lambda: label(review, 0) == name)
    review.page.keyboard.press("u")  # goes to the page of what it undoes
    review.until(lambda: shown(review) == 2 and "undecided" in label(review, 0) and focused(review) == 0)


def test_tab_comes_to_one_card_its_buttons_and_then_leaves_the_grid(review, folder):
    review.page.keyboard.press("ArrowRight")
    found = []
    for _ in range(4):
        found.append(review.page.evaluate("() => document.activeElement.innerText?.split('\\n')[0] ?? ''"))
        review.page.keyboard.press("Tab")
    assert found[1:] == [*actions(review, 1), "Other…"] and focused(review) == -1
    review.page.keyboard.press("Shift+Tab")
    review.page.keyboard.press("Shift+Tab")
    review.page.keyboard.press("Enter")  # on the second button
    review.until(lambda: len(read(folder / DECISIONS)) == 1)
    review.until(lambda: "undecided" not in label(review, 1))


def test_tab_goes_through_the_controls_in_the_order_of_the_screen(review):
    review.page.locator(".galc-show select").focus()
    controls = ["show", "kind", "class", "next", "undo", "card"]
    assert [name for name in review.tabbed(9) if name in controls] == controls


def given(review, place: int) -> list[str]:
    """The labels that a card says are given."""
    return review.page.locator(".galc-card").nth(place).locator(".galc-given bdi").all_inner_texts()


def others(review, place: int) -> str:
    """What a card says was decided about other classes of its image."""
    return review.page.locator(".galc-card").nth(place).locator(".galc-others span").inner_text()


def other_place(review, wanted: bool) -> tuple[int, str]:
    """A card and a class that is given for its image, or is not, and is not the class of the card."""
    for place, own in enumerate(review.page.locator(".galc-card .galc-name").all_inner_texts()):
        labels = given(review, place)
        for name in NAMES[:3]:  # of "bus" there are two in another case
            if name != own and (name in labels) == wanted:
                return place, name
    raise AssertionError("no such card")


def open_field(review, place: int) -> None:
    """Press O on a card."""
    review.page.locator(".galc-card").nth(place).focus()
    review.page.keyboard.press("o")
    expect(review.page.locator(".galc-field input")).to_be_focused()


@pytest.mark.parametrize("there", [False, True])
def test_o_adds_a_class_that_the_image_has_not_and_removes_one_that_it_has(review, folder, there):
    place, name = other_place(review, there)
    word = "removed" if there else "added"
    assert others(review, place) == "other labels: none decided"
    open_field(review, place)
    review.page.keyboard.insert_text(name.upper())
    said = review.page.locator(".galc-said")
    expect(said).to_have_text(f"Enter {'removes' if there else 'adds'} \u2068{name}\u2069.")
    review.page.keyboard.press("Enter")
    review.until(lambda: others(review, place) == f"other labels: {name} {word}")
    assert [(Path(d.file).name, d.name, d.present) for d in read(folder / DECISIONS)] == [
        (review.page.locator(".galc-card").nth(place).get_attribute("title").split("/")[-1], name, not there)
    ]
    expect(review.page.locator(".galc-status [role=status]")).to_contain_text(f"{word}, saved")
    expect(review.page.locator(".galc-status [role=status]")).to_contain_text(name)
    assert f"Other labels: {name} {word}." in label(review, place)
    expect(review.page.locator(".galc-field input")).to_have_value("")
    review.page.keyboard.press("Escape")
    expect(review.page.locator(".galc-field")).to_have_count(0)
    expect(review.page.locator(".galc-card").nth(place)).to_be_focused()
    review.page.keyboard.press("u")
    review.until(lambda: others(review, place) == "other labels: none decided" and focused(review) == place)
    assert read(folder / DECISIONS) == []


def test_the_same_name_again_takes_it_back_and_all_cards_of_the_image_show_it(review, folder):
    place, name = other_place(review, False)
    file = review.page.locator(".galc-card").nth(place).get_attribute("title")
    open_field(review, place)
    for present in (True, False):
        review.page.keyboard.insert_text(name)
        review.page.keyboard.press("Enter")
        review.until(lambda present=present: [d.present for d in read(folder / DECISIONS)][-1:] == [present])
        now = review.page.locator(".galc-now")
        review.until(lambda present=present, now=now: (name in now.locator("bdi").all_inner_texts()) == present)
    shown = [card for card in review.page.locator(".galc-card").all() if card.get_attribute("title") == file]
    assert shown and len(read(folder / DECISIONS)) == 2
    for card in shown:
        own = card.locator(".galc-name").inner_text() == name
        line = card.locator(".galc-done" if own else ".galc-others span").inner_text()
        assert line.endswith("kept as it is")


def test_a_name_that_is_no_class_is_said_to_be_none_and_saves_nothing(review, folder):
    open_field(review, 0)
    field = review.page.locator(".galc-field input")
    for text in ("unicorn", "ca", ""):
        field.fill(text)
        review.page.keyboard.press("Enter")
        expect(review.page.locator(".galc-said[role=status]")).to_contain_text("nothing is saved")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_value(text)
    review.page.wait_for_timeout(300)
    assert read(folder / DECISIONS) == []
    field.fill("c")
    expect(field).to_have_attribute("aria-invalid", "false")


def test_of_two_classes_that_differ_in_case_alone_the_one_as_spelled_is_meant(review, folder):
    open_field(review, 0)
    field, said = review.page.locator(".galc-field input"), review.page.locator(".galc-said")
    field.fill("BUS")
    review.page.keyboard.press("Enter")
    expect(said).to_have_text("It may be \u2068bus\u2069 or \u2068Bus\u2069; nothing is saved.")
    assert read(folder / DECISIONS) == []
    field.fill("Bus")
    review.page.keyboard.press("Enter")
    review.until(lambda: [decision.name for decision in read(folder / DECISIONS)] == ["Bus"])
    expect(said).to_have_text("")


def test_what_is_typed_reaches_neither_the_grid_nor_jupyterlab(review, folder):
    cells, first = review.page.locator(".jp-Cell").count(), label(review, 0)
    open_field(review, 3)
    files = review.page.locator(".jp-FileBrowser")  # Control+b hides and shows it, wherever JupyterLab hears it
    expect(files).to_be_visible()
    for key in [*"kraunpobddx00", "Home", "PageDown", "ArrowRight", "!", "Control+b"]:
        review.page.keyboard.press(key)
    review.page.wait_for_timeout(500)
    assert review.page.locator(".galc-field input").input_value() == "k!raunpobddx00"
    expect(files).to_be_visible()
    assert focused(review) == 3 and shown(review) == 1 and label(review, 0) == first
    assert read(folder / DECISIONS) == [] and review.page.locator(".jp-Cell").count() == cells


def test_the_list_has_every_class_once_and_marks_those_of_the_image(review):
    open_field(review, 2)
    options = review.page.locator(".galc-review datalist option")
    labels = given(review, 2)
    assert sorted(option.get_attribute("value") for option in options.all()) == sorted(CLASSES)
    marked = [option.get_attribute("value") for option in options.all() if option.get_attribute("label")]
    assert (
        sorted(marked) == sorted(labels) and marked == [o.get_attribute("value") for o in options.all()][: len(labels)]
    )
    field = review.page.get_by_label("add or remove a class")
    assert field.evaluate("field => field.list.options.length") == len(CLASSES)
    described = field.evaluate(
        "field => field.getAttribute('aria-describedby').split(' ').map(id => document.getElementById(id)?.innerText)"
    )
    assert None not in described and "Escape closes" in described[1] and all(name in described[1] for name in labels)


def test_the_button_opens_the_field_and_another_card_closes_it(review):
    other = review.page.locator(".galc-other")
    other.nth(4).click()
    expect(review.page.locator(".galc-field input")).to_be_focused()
    assert focused(review) == 4 and other.nth(4).get_attribute("aria-expanded") == "true"
    review.page.locator(".galc-field input").click()
    expect(review.page.locator(".galc-field input")).to_be_focused()
    review.page.locator(".galc-card").nth(1).focus()
    expect(review.page.locator(".galc-field")).to_have_count(0)
    assert focused(review) == 1 and other.nth(4).get_attribute("aria-expanded") == "false"


def test_a_class_that_the_list_shows_is_decided_on_its_own_card_too(review):
    """A decision through the field of one card about the class of another card of the same image."""
    cards = [(card.get_attribute("title"), card.locator(".galc-name").inner_text(), place)
             for place, card in enumerate(review.page.locator(".galc-card").all())]  # fmt: skip
    here, there, name = next((a[2], b[2], b[1]) for a in cards for b in cards if a[0] == b[0] and a[1] != b[1])
    open_field(review, here)
    review.page.keyboard.insert_text(name)
    review.page.keyboard.press("Enter")
    done = {"Remove": "removed", "Add": "added"}[actions(review, there)[1]]
    review.until(lambda: f", {done}. Labels given" in label(review, there))
    expect(review.page.locator(".galc-summary")).to_contain_text("Decided: 1 of")
    assert focused(review) == here and others(review, here) == f"other labels: {name} {done}"
    review.page.keyboard.press("Escape")
    review.page.keyboard.press("u")
    review.until(lambda: "undecided" in label(review, there))
    review.until(lambda: focused(review) == here)


def test_a_click_on_a_button_decides_too(review, folder):
    review.page.locator(".galc-card").nth(4).locator("button").first.click()
    review.until(lambda: "kept as it is" in label(review, 4))
    assert focused(review) == 5 and len(read(folder / DECISIONS)) == 1


def test_the_sample_gives_the_precision(review):
    review.page.locator(".galc-show select").select_option(index=0)
    expect(review.page.locator(".galc-page")).to_contain_text("page 1 of 2")
    review.page.locator(".galc-card").first.focus()
    for place in range(4):
        decide(review, place)
        review.until(lambda place=place: "undecided" not in label(review, place))
    expect(review.page.locator(".galc-summary")).to_contain_text("Precision at 60: 100 % (95 % interval 40 to 100 %)")


def test_decisions_that_cannot_be_saved_are_said_to_be_so(review, folder):
    file = folder / DECISIONS
    whole = b'{"decisions": []}'
    file.write_text("{")
    decide(review, 0)
    error = review.page.locator(".galc-error")
    error.wait_for()
    assert "holds no decisions" in error.inner_text() and "undecided" in label(review, 0)
    assert file.read_text() == "{"
    file.write_bytes(whole)
    review.page.keyboard.press("k")
    review.until(lambda: "kept as it is" in label(review, 1))


def test_a_page_that_is_loaded_again_shows_the_decisions(review):
    decide(review, 0)
    review.until(lambda: "undecided" not in label(review, 0))
    said = label(review, 0)
    review.saved()
    review.page.reload()
    review.page.locator(".galc-card").first.wait_for(timeout=60 * SECOND)
    review.until(lambda: label(review, 0) == said)
    review.rest()


def test_the_gallery_reads_without_a_script_and_from_the_keyboard(browser, tmp_path):
    index = report.gallery(example(tmp_path), tmp_path / "gallery")
    context = browser.new_context(java_script_enabled=False, offline=True)
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.goto(index.as_uri())
    assert page.title() == "Suspicious labels of mine <b>" and page.locator("figure").count() > 50
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#part-51") and problems == []
    context.close()


def test_the_gallery_shows_every_image_and_runs_nothing(browser, tmp_path):
    index = report.gallery(
        example(tmp_path, classes=("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>')),
        tmp_path / "one.html",
    )
    page, alerts = browser.new_page(), []
    page.on("dialog", lambda dialog: alerts.append(dialog.message) or dialog.dismiss())
    page.goto(index.as_uri())
    page.locator("figure").last.scroll_into_view_if_needed()
    page.locator("details").evaluate("details => { details.open = true }")
    images = page.locator("img").all()
    for image in (images[0], images[-1]):
        image.scroll_into_view_if_needed()
        page.wait_for_timeout(100)
        assert image.evaluate("image => image.naturalWidth") == 32
    assert alerts == [] and page.locator("script").count() == 0
    page.context.close()
