"""The command for one run on all GPUs: the runs of a study file, found again by whoever asks for them."""

import pytest
import torch
import yaml

from galc import cli, store
from galc.methods.base import METHODS
from galc.study import params
from galc.study import run as study
from galc.sweep import plan

PAPER = sorted((store.ROOT / "params").glob("paper*.yaml"))


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    """The command takes all cores, and sums of several threads end in other digits: not for later tests."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def study_file(tiny, tmp_path) -> str:
    """Two runs of the coloured blocks, fine-tuned."""
    base = tiny | {"mode": "finetune", "epochs": 1, "dropout": 0.0, "bf16": True, "compile": True}
    content = {"base": base, "grid": {"noise": [0.0, 0.4], "method": ["asl"]}, "notebooks": ["04_noise_sweep"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    return str(tmp_path / "study.yaml")


def test_every_run_is_trained_and_its_record_is_where_a_study_finds_it(study_file, capsys):
    assert cli.main(["train", study_file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("asl, noise 0") and "mAP" in line for line in lines) == 2
    assert all(study.Run(point).is_cached for point in plan.read(study_file, {}).points)
    assert not list((store.outputs() / "checkpoints").glob("*"))
    assert cli.main(["train", study_file, "-p", "noise", "0.4"]) == 0
    again = capsys.readouterr().out
    assert "done before" in again and "epoch" not in again and "noise 0," not in again


def test_what_does_not_fit_is_one_line_and_status_2(study_file, capsys, tmp_path):
    assert cli.main(["train", study_file, "-p", "nois", "0.4"]) == 2
    assert "unknown parameter 'nois'" in capsys.readouterr().err
    assert cli.main(["train", study_file, "--weights", str(tmp_path / "gone.pth")]) == 2
    assert f"weights {tmp_path / 'gone.pth'} do not exist" in capsys.readouterr().err


def test_a_path_of_weights_is_relative_to_the_working_directory(study_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", study_file, "--weights", "w.pth"]) == 2
    assert f"weights {tmp_path / 'w.pth'} do not exist" in capsys.readouterr().err


# --- the paper's setting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", PAPER, ids=lambda file: file.stem)
def test_the_paper_s_files_have_the_recipe_of_the_paper(file):
    first = plan.read(str(file), {}).points[0]
    recipe = params.load_study(PAPER[0])["base"]
    for name, value in recipe.items():
        assert getattr(first, name) == value
    assert (first.backbone, first.image_size, first.epochs) == ("tresnet_m.miil_in21k", 224, 80)
    # the ASL authors': Adam 1e-4, weight decay 1e-4, moving average 0.9997, batches of 128
    assert (first.learning_rate, first.weight_decay, first.ema_decay, first.batch_size) == (1e-4, 1e-4, 0.9997, 128)
    assert first.bf16 and first.mode == "finetune" and first.data == "coco2014"


def test_table_1_is_seven_noise_levels_of_asl_and_galc_slr():
    points = plan.read("params/paper.yaml", {}).points
    assert {(point.method, point.noise) for point in points} == {
        (method, level / 10) for method in ("asl", "galc-slr") for level in range(7)
    }
    points = [point for file in PAPER for point in plan.read(str(file), {}).points]
    assert len(PAPER) == 3 and all(point.method in METHODS for point in points)
