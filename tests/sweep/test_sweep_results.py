"""The table of all runs: one row a run, whoever writes it, whatever was there before."""

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow.parquet
import pytest
import torch

from galc import store
from galc.study.params import Params
from galc.study.run import RunRecord
from galc.study.stage_cache import code_digest
from galc.sweep import plan


def record(mAP: float, **params) -> RunRecord:
    """A record as `galc.study.run.run` makes it, without the study."""
    values = Params(**params).model_dump()
    summary = {name: values[name] for name in ("method", "noise", "seed")} | {"mAP": mAP, "best_epoch": 3}
    details = {"params": values, "file": f"{store.digest(values)}.safetensors"}
    return RunRecord(summary, [], details, torch.eye(2), None, torch.zeros(1, 2))


def read() -> pd.DataFrame:
    return pd.read_parquet(store.outputs() / "results.parquet")


def test_a_row_holds_all_parameters_the_metrics_and_where_they_come_from():
    path = plan.add_runs([record(50.0, seed=1), record(40.0, seed=2, single_label_limit=50, method="asl")])
    table = read()
    assert path == store.outputs() / "results.parquet" and set(Params.model_fields) <= set(table)
    assert table[["method", "seed", "mAP", "best_epoch"]].values.tolist() == [
        ["galc-plus", 1, 50, 3],
        ["asl", 2, 40, 3],
    ]
    assert table["single_label_limit"].isna().tolist() == [True, False]
    assert set(table["code"]) == {code_digest()} and table["file"].str.endswith(".safetensors").all()
    assert table["key"].is_unique


def test_a_run_that_was_there_is_replaced_and_others_are_kept():
    plan.add_runs([record(50.0, seed=1), record(40.0, seed=2)])
    plan.add_runs([record(45.0, seed=2), record(30.0, seed=3)])
    assert sorted(zip(read()["seed"], read()["mAP"], strict=True)) == [(1, 50.0), (2, 45.0), (3, 30.0)]


def test_a_new_metric_is_a_new_column_and_missing_in_older_rows():
    plan.add_runs([record(50.0, seed=1)])
    new = record(40.0, seed=2)
    new.summary["C_row_l1"] = 0.1
    plan.add_runs([new])
    table = read().set_index("seed")
    assert table["C_row_l1"].isna().to_dict() == {1: True, 2: False} and table["mAP"].to_dict() == {1: 50.0, 2: 40.0}


def test_whole_and_broken_numbers_of_a_column_go_together():
    plan.add_runs([record(50, noise=0.0, seed=1)])
    plan.add_runs([record(40.5, noise=0.4, seed=2)])
    assert read()["mAP"].tolist() == [50, 40.5] and read()["noise"].tolist() == [0.0, 0.4]


@pytest.mark.parametrize("content", [b"no parquet at all", b"PAR1", b""])
def test_a_broken_table_is_reported_and_begun_anew(content):
    store.outputs().mkdir()
    (store.outputs() / "results.parquet").write_bytes(content)
    with pytest.warns(UserWarning, match=r"results\.parquet is broken"):
        plan.add_runs([record(50.0)])
    assert read()["mAP"].tolist() == [50.0]


def test_somebody_elses_table_is_not_taken_for_ours():
    store.outputs().mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), store.outputs() / "results.parquet")
    with pytest.warns(UserWarning, match="it has no column 'key'"):
        plan.add_runs([record(50.0)])
    assert len(read()) == 1


def test_an_interrupted_write_keeps_the_old_table(monkeypatch):
    plan.add_runs([record(50.0, seed=1)])
    monkeypatch.setattr(store.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        plan.add_runs([record(40.0, seed=2)])
    assert read()["mAP"].tolist() == [50.0]


def test_many_that_write_at_the_same_time_lose_nothing():
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: plan.add_runs([record(float(seed), seed=seed), record(9.0, seed=99)]), range(16)))
    assert sorted(read()["seed"]) == [*range(16), 99]
