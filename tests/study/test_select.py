"""Choosing on gold images: what is compared, by which images, and how the table says it."""

import pandas as pd
import pytest
import torch

from galc import cli, metrics, store
from galc.study import runs as grid
from galc.study.params import ParameterError, Params, checked
from galc.study.run import Run
from galc.training.models import predict

CANDIDATES = {"candidates": {"narrow": {}, "wide": {"hidden": 24}}}


@pytest.fixture
def written(tiny, tmp_path):
    """Writes a selection file of the coloured blocks with some keys changed."""

    def write(**changes):
        base = tiny | {"gold_fraction": 0.3, "gold_holdout": 0.5, "method": "asl"}
        spec = {"base": base, "grid": {"noise": [0.2], "seed": [0, 1]}} | CANDIDATES | changes
        return str(store.write_json(tmp_path / "select.yaml", spec))

    return write


def test_every_candidate_is_run_at_every_point_of_the_grid(written):
    runs = grid.candidates(written())
    assert [(p.hidden, p.seed) for p in runs["narrow"]] == [(16, 0), (16, 1)]
    assert [(p.hidden, p.seed) for p in runs["wide"]] == [(24, 0), (24, 1)]
    assert {p.epochs for its in grid.candidates(written(), {"epochs": 1}).values() for p in its} == {1}


def test_a_parameter_of_the_command_takes_the_place_of_its_list_in_the_grid_but_of_no_candidate(written):
    runs = grid.candidates(written(), {"seed": 5, "noise": 0.4})
    assert [(p.seed, p.noise) for p in runs["wide"]] == [(5, 0.4)]
    with pytest.raises(ParameterError, match="hidden set by -p and in a candidate"):
        grid.candidates(written(), {"hidden": 8})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidate": {}}, "unknown key 'candidate'; did you mean 'candidates'"),
        ({"candidates": {"one": {}}}, "'candidates' must map two names or more"),
        ({"base": {}}, "set 'gold_holdout' in its base"),
        ({"candidates": {"a": {}, "b": {"noise": 0.1}}}, "noise in the grid and in a candidate"),
        ({"candidates": {"a": {}, "b": {"hiden": 8}}}, "unknown parameter 'hiden'; did you mean 'hidden'"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(written, changes, message):
    with pytest.raises(ParameterError, match=message):
        grid.candidates(written(**changes))


def test_the_score_is_the_mAP_on_gold_images_that_no_stage_has_seen(tiny):
    own = Run(checked(tiny | {"gold_fraction": 0.3, "gold_holdout": 0.5, "method": "asl"}))
    its = own.stages
    seen = torch.cat([its.split.gold, its.split.silver, its.split.single])
    assert len(its.split.held) > 5 and not torch.isin(its.split.held, seen).any()
    models, fit = [], its.fit
    its.fit = lambda *args, **options: models.append(fit(*args, **options)) or models[-1]
    record = own.record()
    logits = predict(models[-1].model, its.inputs.data.x, its.split.held, its.inputs.data.prepare)
    expected = metrics.evaluate(logits.sigmoid(), its.train.labels[its.split.held])["mAP"]
    assert record.summary["mAP_gold"] == expected != record.summary["mAP"]


def test_the_table_pairs_seeds_and_puts_the_best_first():
    rows = [
        ("a", "asl", 0.2, 0, 50.0),
        ("a", "asl", 0.2, 1, 60.0),
        ("b", "asl", 0.2, 0, 51.0),
        ("b", "asl", 0.2, 1, 63.0),
    ]
    rows += [
        ("a", "bce", 0.6, 0, 40.0),
        ("a", "bce", 0.6, 1, 40.0),
        ("b", "bce", 0.6, 0, 40.0),
        ("b", "bce", 0.6, 1, 40.0),
    ]
    got = grid.compared(pd.DataFrame(rows, columns=["candidate", "method", "noise", "seed", "mAP_gold"]))
    assert list(got.index) == ["b", "a"]
    assert got.loc["a"].to_dict() == pytest.approx(
        {"asl 20 %": 55.0, "bce 60 %": 40.0, "mean": 47.5, "behind": 1.0, "error": 0.5}
    )
    assert got.loc["b", "behind"] == 0.0


def test_candidates_may_be_methods(tiny, tmp_path):
    candidates = {"ASL": {"method": "asl"}, "BCE": {"method": "bce"}}
    spec = {"base": tiny | {"gold_holdout": 0.5}, "candidates": candidates}
    path = store.write_json(tmp_path / "methods.yaml", spec)
    assert [p.method for its in grid.candidates(str(path)).values() for p in its] == ["asl", "bce"]


def test_the_command_prints_the_table_and_the_choice(written, capsys):
    assert cli.main(["select", written(), "-p", "epochs", "1", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "narrow" in printed and "best of 2 on held-out gold images: " in printed


def test_bad_input_is_one_line(written, capsys):
    assert cli.main(["select", written(base={})]) == 2
    assert capsys.readouterr().err.startswith("error: ") and "gold_holdout" in grid.__doc__


@pytest.mark.parametrize("name", ["recipe", "last_loss"])
def test_the_selection_files_of_the_project_fit(name):
    runs = grid.candidates(f"params/selection/{name}.yaml")
    assert all(isinstance(p, Params) and p.gold_holdout > 0 for its in runs.values() for p in its)
