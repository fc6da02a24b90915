"""The command from noisy labels to cleaned ones: what it writes, what it takes up, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from galc import store
from galc.clean import Cleaned, report
from galc.clean.pipeline import Classifier
from galc.clean.review import Decision, write
from galc.cli import main
from galc.data.load import load
from tests.conftest import write_colours

SMALL = {"components": 8, "hidden": 16, "epochs": 2, "fold_epochs": 2, "batch_size": 32, "folds": 2}
MODEL = ["--backbone", "test_efficientnet", "--weights", "none", "--image-size", "32"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The coloured blocks, 60 of them with their first label turned into a wrong one; the rest can be trusted."""
    root = write_colours(tmp_path_factory.mktemp("blocks") / "data", test=4)
    file = root / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    for one in document["annotations"]:
        if one["image_id"] <= 60 and one["id"] % 3 == 0:
            one["category_id"] = one["category_id"] % 6 + 1
    file.write_text(json.dumps(document))
    (root / "trusted.txt").write_text("".join(f"{n:03d}.png\n" for n in range(60, 120)))
    return root


def command(source: Path, out: Path, *more: str) -> list[str]:
    settings = [word for name, value in SMALL.items() for word in ("-p", name, str(value))]
    trusted = ["--trusted", str(source / "trusted.txt")]
    return ["clean", "--data", str(source), *trusted, "--out", str(out), *MODEL, *settings, *more]


@pytest.fixture(scope="module")
def run(source, tmp_path_factory) -> tuple[Path, Path]:
    """(out, outputs) of one run of the command."""
    folder = tmp_path_factory.mktemp("run")
    before = os.environ.get("GALC_OUTPUTS")
    os.environ["GALC_OUTPUTS"] = str(folder / "outputs")
    try:
        assert main(command(source, folder / "out")) == 0
    finally:
        os.environ.pop("GALC_OUTPUTS") if before is None else os.environ.update(GALC_OUTPUTS=before)
    return folder / "out", folder / "outputs"


def test_everything_is_written_and_fits_together(run, source):
    out, _ = run
    cleaned = Cleaned.load(out)
    assert len(cleaned) == 120 and int(cleaned.trusted.sum()) == 60
    assert torch.equal(cleaned.posterior[cleaned.trusted], cleaned.labels[cleaned.trusted].float())
    assert (cleaned.labels[cleaned.trusted].sum(1) > 0).all() and cleaned.record["params"]["fold_epochs"] == 2
    labels = load(out / "labels" / "instances_train.json", images=source / "images" / "train")
    row = {file: n for n, file in enumerate(cleaned.files)}
    assert torch.equal(labels.labels, cleaned.corrected()[[row[file] for file in labels.files]])
    lines = (out / "suspicious.csv").read_text().splitlines()
    assert lines[0] == "rank,file,class,given,kind,probability,done" and len(lines) == len(cleaned.suspicious) + 1
    page = (out / "report.html").read_text()
    assert "120 images, 7 classes, 60 images trusted" in page and "How far to trust the intervals" in page
    corrected = [line for line in lines if line.endswith(",corrected")]
    assert len(corrected) == int((cleaned.corrected() ^ cleaned.labels).sum()) and "Nothing is changed" not in page


def test_the_classifier_loads_from_its_file_alone_and_its_card_says_how(run):
    out, _ = run
    classifier = Classifier.load(out / "classifier.safetensors")
    cleaned = Cleaned.load(out)
    scores = classifier(cleaned.files[:5])
    assert scores.shape == (5, 7) and ((scores >= 0) & (scores <= 1)).all()
    code = (out / "classifier.md").read_text().split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) <= 10
    place = out / "my_images"
    place.mkdir(exist_ok=True)
    (place / "one.jpg").write_bytes(cleaned.files[0].read_bytes())
    printed = subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True, check=True,
                             env=os.environ | {"PYTHONPATH": str(store.ROOT)})  # fmt: skip
    assert printed.stdout.startswith("one.jpg")


@pytest.mark.parametrize("more", [[], ["--least", "0.5"]])
def test_with_few_trusted_images_corrections_are_suggestions_unless_asked_for(source, tmp_path, capsys, more):
    (tmp_path / "few.txt").write_text("".join(f"{n:03d}.png\n" for n in range(60, 75)))
    few = ["--trusted", str(tmp_path / "few.txt"), "--no-classifier", *more]
    assert main([*command(source, tmp_path / "out"), *few]) == 0
    said, cleaned = capsys.readouterr().out, Cleaned.load(tmp_path / "out")
    labels = load(tmp_path / "out" / "labels" / "instances_train.json", images=source / "images" / "train")
    same = torch.equal(labels.labels, cleaned.labels[[cleaned.files.index(file) for file in labels.files]])
    lines = (tmp_path / "out" / "suspicious.csv").read_text().splitlines()
    asked, likely = bool(more), int((cleaned.suspicious["probability"] > 0.5).sum())
    assert likely and same != asked
    first = f"Nothing is changed but what people decided: 15 images are trusted, and 20 are the least that can vouch for corrections. {likely} suggestions are in suspicious.csv; --least 0.5 makes them all the same."  # fmt: skip  # noqa: E501
    assert (first in said) != asked and (first in (tmp_path / "out" / "report.html").read_text()) != asked
    assert sum(line.endswith(",corrected" if asked else ",suggested") for line in lines) == likely


def test_a_second_call_computes_nothing_and_obeys_decisions(run, source, capsys, monkeypatch):
    out, outputs = run
    monkeypatch.setenv("GALC_OUTPUTS", str(outputs))
    cleaned = Cleaned.load(out)
    absent = (~cleaned.labels[60:]).nonzero()[0]
    row, column = 60 + int(absent[0]), int(absent[1])  # of a trusted image
    decision = Decision(str(cleaned.files[row]), cleaned.classes[column], True)
    write(out / "decisions.json", lambda log: [*log, decision])
    made = {path: path.stat().st_mtime_ns for path in (outputs / "cache").rglob("*.safetensors")}
    try:
        assert main(command(source, out, "--no-classifier")) == 0
    finally:
        (out / "decisions.json").unlink()
    assert {path: path.stat().st_mtime_ns for path in (outputs / "cache").rglob("*.safetensors")} == made
    assert "fold" not in capsys.readouterr().out
    labels = load(out / "labels" / "instances_train.json", images=source / "images" / "train")
    assert labels.labels[labels.files.index(cleaned.files[row]), column]


def test_other_tools_take_the_result(run):
    from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

    cleaned = Cleaned.load(run[0])
    given, probabilities = report.for_cleanlab(cleaned)
    scores = get_label_quality_scores_per_class(given, probabilities)
    assert np.allclose(1 - scores, cleaned.suspicion.numpy(), atol=1e-6)


def test_fiftyone_reads_the_corrected_labels(run, source, monkeypatch):
    """By the importer behind `fiftyone.Dataset.from_dir`, which needs no database."""
    monkeypatch.setenv("FIFTYONE_DISABLE_SERVICES", "1")
    coco = pytest.importorskip("fiftyone.utils.coco")
    cleaned = Cleaned.load(run[0])
    importer = coco.COCODetectionDatasetImporter(
        data_path=str(source / "images" / "train"),
        labels_path=str(run[0] / "labels" / "instances_train.json"),
        label_types="detections",
    )
    with importer:
        found = {Path(file): {box.label for box in boxes.detections} for file, _, boxes in importer if boxes}
    corrected = zip(cleaned.files, cleaned.corrected(), strict=True)
    wanted = {file.resolve(): {cleaned.classes[k] for k in row.nonzero()[:, 0]} for file, row in corrected}
    assert {file.resolve(): labels for file, labels in found.items()} == {f: n for f, n in wanted.items() if n}


@pytest.mark.parametrize(
    "change, message",
    [
        (["--least", "2"], "--least must lie in"),
        (["-p", "epoch", "3"], "unknown parameter 'epoch'; did you mean 'epochs'? (known here: backbone, "),
        (["-p", "noise", "0.3"], "unknown parameter 'noise'"),
        (["-p", "method", "asl"], "unknown parameter 'method'"),
        (["-p", "gold_fraction", "0.3"], "unknown parameter 'gold_fraction'"),
        (["-p", "epochs", "many"], "epochs"),
        (["--trusted", "none.txt"], "is missing"),
        (["--data", "nowhere"], "neither one of"),
    ],
)
def test_bad_input_is_an_error_in_one_line_before_any_work(source, tmp_path, capsys, change, message):
    assert main([*command(source, tmp_path / "out"), *change]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out" / "cleaned.safetensors").exists()


def test_a_place_that_cannot_be_written_to_and_one_in_use_are_refused(source, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(command(source, place)) == 2
        error = capsys.readouterr().err
        assert f"{tmp_path / 'file'} is a file" in error and "pass another --out" in error and "Errno" not in error
    (tmp_path / "used").mkdir()
    with FileLock(tmp_path / "used" / ".lock"):
        assert main(command(source, tmp_path / "used")) == 2
    assert "another process is writing to" in capsys.readouterr().err


def test_decisions_that_cannot_be_read_stop_the_command_before_any_work(source, tmp_path, capsys):
    (tmp_path / "decisions.json").write_text("{")
    assert main(command(source, tmp_path)) == 2
    assert "holds no decisions" in capsys.readouterr().err
    assert (tmp_path / "decisions.json").read_text() == "{"


def test_killed_at_any_moment_it_leaves_no_half_result_and_goes_on(run, source, tmp_path):
    """SIGKILL while it works, twice, the second time later; then a whole run ends as one that was never killed."""
    environment = os.environ | {"PYTHONPATH": str(store.ROOT), "GALC_OUTPUTS": str(tmp_path / "outputs")}
    out = tmp_path / "out"
    words = [sys.executable, "-m", "galc.cli", *command(source, out, "--no-classifier")]
    cache, seen = tmp_path / "outputs" / "cache", 0
    for _ in range(2):
        process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(cache.rglob("*.safetensors"))) <= seen:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen = len(list(cache.rglob("*.safetensors")))
        for file in [*cache.rglob("*.safetensors"), *out.glob("*.safetensors")]:
            assert store.read(file, strict=True)
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert torch.equal(Cleaned.load(out).posterior, Cleaned.load(run[0]).posterior)


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_half_a_classifier_is_refused(run, tmp_path, cut):
    path = tmp_path / "classifier.safetensors"
    path.write_bytes((run[0] / path.name).read_bytes()[:cut])
    with pytest.raises(ValueError, match="is no whole classifier"):
        Classifier.load(path)
