"""The README says what is: its table comes from the stored results, its files, targets and parameters exist."""

import importlib.util
import re

import pytest

from galc import store

README, MAKEFILE = ((store.ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("update_readme", store.ROOT / "scripts" / "update_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_stored_results(script):
    tables = script.stored()
    assert set(re.findall(r"<!-- (\w+) -->", README)) >= {"table1"}
    for document in script.DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert script.with_tables(text, tables) == text, document.name
    assert tables["table1"].groupby(["method", "noise"])["seed"].nunique().min() >= 3
    listed = re.findall(r"\| `(params/\w+\.yaml)` \|$", README, re.M)
    assert listed == [f"params/{name}.yaml" for name in re.search(r"^PAPER := (.+)$", MAKEFILE, re.M)[1].split()]


@pytest.mark.parametrize("name", ["table1", "beyond", "beyond_coco2014_mini", "reach_coco2014_mini"])
def test_a_changed_number_changes_the_table(script, name):
    tables, texts = script.stored(), [path.read_text(encoding="utf-8") for path in script.DOCUMENTS]
    tables[name].loc[0, "mAP"] -= 40
    assert [script.with_tables(text, tables) for text in texts] != texts


def test_a_missing_run_is_named_with_the_command_that_makes_it_and_nothing_is_taken(script):
    tables, text = script.stored(), (store.ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    table = tables["beyond"]
    is_gone = (table["noise_kind"] == "pair") & (table["noise"] == 0.4) & (table["method"] == "splc")
    run = "method splc, noise_kind pair, noise 0.4, seed 0; make it by python -m galc.sweep params/beyond.yaml, then"
    with pytest.raises(ValueError, match=f"^beyond has no run of {run}"):
        script.with_tables(text, tables | {"beyond": table[~is_gone]})
    alone = tables["reach_coco2014_mini"].query("method == 'asl'")
    with pytest.raises(ValueError, match=r"run of method galc-slr.* params/reach.yaml -p data FOLDER, then"):
        script.with_tables(text, tables | {"reach_coco2014_mini": alone})
    with pytest.raises(ValueError, match=r"no results of gold_size; make them by .* params/gold_size.yaml, then"):
        script.with_tables(text, {name: table for name, table in tables.items() if name != "gold_size"})

    kept = (script.REFERENCE / "beyond.csv").read_bytes()
    store.write_text(store.outputs() / "beyond.csv", table[~is_gone].to_csv(index=False))
    with pytest.raises(ValueError, match=run):
        script.main()
    assert (script.REFERENCE / "beyond.csv").read_bytes() == kept


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (store.ROOT / target).is_file(), target


def test_named_notebooks_and_parameter_files_exist():
    named = set(re.findall(r"`(\d\d_\w+)`", README)) | set(re.findall(r"papermill (\d\d_\w+)\.ipynb", README))
    assert len(named) >= 5
    for name in named:
        assert (store.ROOT / "notebooks" / f"{name}.ipynb").is_file(), name
    for path in re.findall(r"\bparams/\w+\.yaml|\bbenchmarks/\w+\.py", README):
        assert (store.ROOT / path).is_file(), path


def test_make_targets_exist():
    targets = set(re.findall(r"^(\w+):", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"`?\bmake (\w+)`?", README)) <= targets


def test_the_example_in_code_names_what_exists():
    from galc.study.params import Params
    from galc.study.run import RunRecord

    assert Params(noise=0.4, method="galc-plus").method == "galc-plus"
    assert {"summary", "estimate"} <= set(RunRecord.__dataclass_fields__)
