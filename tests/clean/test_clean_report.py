"""Report and gallery: pages that any browser reads without a script, and in which a name is a name and no more."""

import io
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from cleaned import CLASSES, example
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from galc import store
from galc.clean import Cleaned, Rates, report
from galc.clean.review import Review


class Page(HTMLParser):
    """The tags of a page, with attributes, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def of(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def cleaned(tmp_path):
    return example(tmp_path)


def written(cleaned, path, **options) -> tuple[Page, str]:
    text = report.gallery(cleaned, path, **options).read_text(encoding="utf-8")
    return Page(text), text


def test_one_file_holds_everything_and_asks_for_nothing(cleaned, tmp_path):
    page, text = written(cleaned, tmp_path / "out" / "gallery.html")
    number = len(cleaned.suspicious)
    assert len(page.of("figure")) == len(page.of("img")) == number > 50
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.of("img"))
    assert not page.of("script") and not page.of("link") and "http" not in re.sub("http-equiv", "", text)
    assert "default-src 'none'" in page.of("meta")[1]["content"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["gallery.html"]


def test_a_folder_holds_its_images_beside_the_page(cleaned, tmp_path):
    page, _ = written(cleaned, tmp_path / "out", most=7)
    assert len(page.of("img")) == 7
    for image in page.of("img"):
        with Image.open(tmp_path / "out" / image["src"]) as thumbnail:
            assert thumbnail.format == "JPEG"


def test_names_are_text_wherever_they_stand(cleaned, tmp_path):
    page, _ = written(cleaned, tmp_path / "out.html")
    assert not {tag for tag, _ in page.tags} & {"script", "i", "b"}
    for name in (*CLASSES, "mine <b>", "003 <i>&ü.png"):
        assert name in page.text
    assert any(CLASSES[1] in image["alt"] for image in page.of("img"))
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)


@given(name=st.text(min_size=1).filter(str.strip))
def test_any_name_is_escaped(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("any")
    page, _ = written(example(folder, 3, (name, f"{name}2")), folder / "out.html")
    plain, _ = written(example(folder / "plain", 3, ("plain", "other")), folder / "plain.html")
    assert [tag for tag, _ in page.tags if tag != "bdi"] == [tag for tag, _ in plain.tags if tag != "bdi"]
    assert html_text(name) in html_text(page.text)


def html_text(text: str) -> str:
    """Without what a parser may fold: line ends and the null character."""
    return re.sub(r"[\s\x00�]+", " ", text).strip()


def test_it_says_what_is_suspicious_and_how_much_in_the_order_of_the_table(cleaned, tmp_path):
    page, _ = written(cleaned, tmp_path / "out.html", most=60)
    claims = re.findall(r"(?:not )?given, (?:over )?\d+ % likely (?:wrong|missing)", page.text)
    table = cleaned.suspicious[:60]
    wanted = [
        report.CLAIMS[kind].format(report.chance(p))
        for kind, p in zip(table["kind"], table["probability"], strict=True)
    ]
    assert claims == wanted
    assert "The 60 most suspicious are below" in page.text
    row = cleaned.suspicious["row"][0]
    labels = [name for name, has in zip(CLASSES, cleaned.labels[row], strict=True) if has]
    assert page.of("img")[0]["alt"] == "labels given: " + (", ".join(labels) or "none")


def test_a_chance_is_never_certainty():
    assert [report.chance(p) for p in (0.054, 0.5, 0.99, 0.9951, 1.0)] == [
        "5 %",
        "50 %",
        "99 %",
        "over 99 %",
        "over 99 %",
    ]


def test_every_link_leads_to_a_part_of_the_page_and_every_label_has_one(cleaned, tmp_path):
    page, _ = written(cleaned, tmp_path / "out.html")
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [link["href"] for link in page.of("a")]
    assert {link.removeprefix("#") for link in links} == ids
    assert len([id for id in ids if id.startswith("part-")]) == -(-len(cleaned.suspicious) // report.PART)


def test_decisions_are_shown(cleaned, tmp_path):
    review = Review(cleaned.suspicious, tmp_path / "decisions.json")
    review.decide(0, review.actions(0)[1])
    review.decide(1, "keep")
    page, _ = written(cleaned, tmp_path / "out.html", review=review, most=3)
    assert len(page.of("em")) == 2 and "kept as it is" in page.text


def test_it_tells_nothing_of_the_machine(cleaned, tmp_path):
    for path in (tmp_path / "one.html", tmp_path / "folder"):
        assert str(tmp_path) not in written(cleaned, path)[1]


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_shown(cleaned, tmp_path):
    broken = cleaned.files[cleaned.suspicious["row"][0]]
    broken.write_bytes(b"no image")
    page, _ = written(cleaned, tmp_path / "out.html", most=40)
    missing = int((cleaned.suspicious["file"][:40] == str(broken)).sum())
    assert page.text.count("This image cannot be read.") == missing and len(page.of("img")) == 40 - missing
    assert broken.name in page.text


@pytest.mark.parametrize(("name", "at"), [("one.html", ".html"), ("folder", ".html"), ("folder", ".jpg")])
def test_a_full_disk_leaves_the_old_page_and_no_half_of_a_new_one(cleaned, tmp_path, monkeypatch, name, at):
    index = report.gallery(cleaned, tmp_path / name, most=5)
    before, replace = index.read_bytes(), os.replace

    def full(source, target):
        if str(target).endswith(at):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        report.gallery(cleaned, tmp_path / name, most=9)
    assert index.read_bytes() == before and not [*tmp_path.rglob("*.tmp")]


def test_where_nothing_is_suspicious_the_page_says_so(tmp_path):
    cleaned = example(tmp_path, 1)  # its only image is trusted
    page, _ = written(cleaned, tmp_path / "out.html")
    assert not page.of("figure") and "The 0 most suspicious" in page.text


def test_thumbnails_of_a_page_are_small(cleaned, tmp_path):
    Image.effect_noise((3000, 2000), 60).save(file := cleaned.files[cleaned.suspicious["row"][0]])
    report.gallery(cleaned, tmp_path / "out", most=1)
    (small,) = (tmp_path / "out" / "thumbnails").iterdir()
    with Image.open(io.BytesIO(small.read_bytes())) as image:
        assert max(image.size) == 150 and small.stat().st_size < file.stat().st_size / 20


def test_a_page_is_not_written_over_another_kind_of_file(cleaned, tmp_path):
    (tmp_path / "labels.csv").write_text("image,labels")
    with pytest.raises(FileExistsError, match=r"labels\.csv is a file; name a folder, or a file that ends in \.html"):
        report.gallery(cleaned, tmp_path / "labels.csv")
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        report.gallery(cleaned, tmp_path / "out", most=0)
    assert (tmp_path / "labels.csv").read_text() == "image,labels" and not (tmp_path / "out").exists()


def test_the_style_is_read_from_the_package():
    assert "galc-figures" in report.CSS and (store.ROOT / "galc" / "clean" / "gallery.css").is_file()


def test_confusions_come_by_the_number_of_labels_they_concern():
    rate = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.0, 0.5, 0.5]], dtype=torch.float64)
    labels = torch.cat([torch.eye(3)[k].expand(n, 3) for k, n in enumerate((100, 10, 1))]).bool()
    files = tuple(Path(f"{n}.png") for n in range(len(labels)))
    parts = {"name": "", "classes": ("a", "b", "c"), "files": files, "labels": labels, "posterior": labels.float()}
    parts |= {name: Rates(*[torch.zeros(3).double()] * 3) for name in ("removed", "added", "wrong", "missing")}
    whole = Cleaned(**parts, transition=Rates(rate, rate / 2, rate))
    found = report.confusions(whole).to_dict("records")
    assert [(one["true"], one["given"]) for one in found] == [("a", "b"), ("b", "a"), ("c", "b")]
    assert found[0] == {"true": "a", "given": "b", "rate": 0.1, "low": 0.05, "high": 0.1}
    assert len(report.confusions(whole, 2)) == 2
    unsure = replace(whole, transition=Rates(rate, torch.zeros(3, 3).double(), rate))
    assert report.confusions(unsure).empty


def test_the_report_has_every_name_whole_and_nothing_of_the_machine(cleaned, tmp_path):
    page = report.page(cleaned, tmp_path / "out").read_text(encoding="utf-8")
    parsed = Page(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "i", "b"} and str(tmp_path) not in page
    for name in (*CLASSES, "mine <b>", "003 <i>&ü.png"):
        assert name in parsed.text
