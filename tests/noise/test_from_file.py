"""A user's noise from a file: read by name, and every fault named with its mend."""

import json

import numpy as np
import pytest
import torch

from galc.noise.from_file import parse, read

NAMES = ["cat", "dog", "red car"]
MATRIX = [[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]]
RATES = {"removed": [0.1, 0.0, 0.3], "added": [0.0, 0.02, 0.0]}


def as_csv(path, classes=NAMES, transition=MATRIX, **rates):
    lines = [",".join(["class", *classes, *rates])]
    for k, name in enumerate(classes):
        lines.append(",".join([name, *map(str, transition[k]), *(str(values[k]) for values in rates.values())]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def as_json(path, classes=NAMES, transition=MATRIX, **rates):
    path.write_text(json.dumps({"classes": list(classes), "transition": transition, **rates}), encoding="utf-8")
    return path


def as_npz(path, classes=NAMES, transition=MATRIX, **rates):
    np.savez(path, classes=np.array(classes), transition=np.array(transition), **rates)
    return path


WRITE = {"csv": as_csv, "json": as_json, "npz": as_npz}
each_format = pytest.mark.parametrize("form", WRITE)


@each_format
def test_classes_are_matched_by_name_in_any_order(form, tmp_path):
    path = WRITE[form](tmp_path / f"noise.{form}", **RATES)
    found = read(path, ["red car", "cat", "dog"])
    order = [2, 0, 1]
    torch.testing.assert_close(found.transition, torch.tensor(MATRIX).double()[order][:, order])
    torch.testing.assert_close(found.removed, torch.tensor([0.3, 0.1, 0.0]).double())
    torch.testing.assert_close(found.added, torch.tensor([0.0, 0.0, 0.02]).double())


@each_format
def test_rates_may_be_left_out_one_or_both(form, tmp_path):
    none = read(WRITE[form](tmp_path / f"none.{form}"), NAMES)
    assert none.keeps_count
    one = read(WRITE[form](tmp_path / f"one.{form}", added=RATES["added"]), NAMES)
    assert one.added.tolist() == RATES["added"] and not one.removed.any()


def test_columns_of_a_csv_may_stand_in_another_order_than_its_rows(tmp_path):
    path = tmp_path / "noise.csv"
    path.write_text("class,dog,cat\ncat,0.3,0.7\ndog,1,0\n")
    torch.testing.assert_close(read(path, ["cat", "dog"]).transition, torch.tensor([[0.7, 0.3], [0, 1]]).double())


@each_format
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"transition": [[0.7, 0.2, 0.1], [0, 0.9, 0], [0, 0, 1]]},
            r"class 'dog' sums to 0\.9, not 1;.*transposed",
        ),
        (
            {"transition": [[1, 0, 0], [0, 1, 0], [0.5, 0.7, -0.2]]},
            r"'red car' must be probabilities in \[0, 1\]",
        ),
        (
            {"transition": [[1, 0, 0], [0, 1, 0], [float("nan"), 1, 0]]},
            r"'red car' must be probabilities .*nan",
        ),
        ({"removed": [0.1, 1.2, 0]}, r"removed of class 'dog' must be probabilities in \[0, 1\], got 1\.2"),
        ({"added": [0.1, float("inf"), 0]}, r"added of class 'dog' must be probabilities"),
    ],
)
def test_what_is_no_probability_is_refused_by_class(form, change, message, tmp_path):
    with pytest.raises(ValueError, match=rf"noise\.{form}: .*{message}"):
        read(WRITE[form](tmp_path / f"noise.{form}", **change), NAMES)


@each_format
def test_unknown_missing_and_doubled_classes_are_named(form, tmp_path):
    path = WRITE[form](tmp_path / f"noise.{form}")
    with pytest.raises(ValueError, match=r"unknown class 'red car'; did you mean 'red cars'\?"):
        read(path, ["cat", "dog", "red cars"])
    with pytest.raises(ValueError, match=r"no row for class 'bird', 'fox'; add it \(a row of the identity: no noise\)"):
        read(path, [*NAMES, "bird", "fox"])
    with pytest.raises(ValueError, match=r"class 'cat' comes twice|rows and columns.*comes twice"):
        read(WRITE[form](tmp_path / f"twice.{form}", classes=["cat", "cat", "dog"]), ["cat", "dog"])


@pytest.mark.parametrize("form", ["json", "npz"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": MATRIX[:2]}, r"transition has shape \(2, 3\); for 3 classes it must be \(3, 3\)"),
        ({"removed": [0.1, 0.2]}, r"removed has shape \(2,\); for 3 classes it must be \(3,\)"),
        ({"remove": [0, 0, 0]}, "unknown remove; a noise file holds classes, transition, removed, added"),
    ],
)
def test_other_shapes_and_names_are_refused(form, change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        parse(WRITE[form](tmp_path / f"noise.{form}", **change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"header must be class,NAME"),
        ("name,cat\ncat,1\n", r"header must be class,NAME"),
        ("class,cat,dog\ncat,1,0\ndog,0\n", r"row 3 \('dog'\): 2 cells, the header has 3"),
        ("class,cat,dog\ncat,1,0\nfox,0,1\n", r"rows and columns must be of the same classes; not in both: dog, fox"),
        ("class,cat,dog\ncat,1,zero\ndog,0,1\n", r"class 'cat': 'zero' is no number"),
    ],
)
def test_a_csv_of_another_form_is_refused(text, message, tmp_path):
    path = tmp_path / "noise.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"noise\.csv.*{message}"):
        parse(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no valid JSON"),
        ("[1]", "a mapping must be there"),
        ('{"classes": ["a"]}', "transition must be there"),
        ('{"classes": ["a", "b"], "transition": [[1, 0], [1]]}', "numbers in rows of equal length"),
        ('{"classes": ["a"], "transition": [["x"]]}', "numbers in rows of equal length"),
    ],
)
def test_a_json_of_another_form_is_refused(text, message, tmp_path):
    path = tmp_path / "noise.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"noise\.json.*{message}"):
        parse(path)


def test_a_file_that_is_missing_broken_of_another_type_or_holds_objects_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no noise file .*none\.csv; noise_kind is the name of a kind, or the"):
        parse(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"a noise file is one of \.csv, \.json, \.npz"):
        parse(tmp_path / "noise.txt")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"is no \.npz of plain arrays"):
        parse(broken)
    np.save(tmp_path / "one.npy", np.eye(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"one\.npz is no \.npz of plain arrays"):
        parse(tmp_path / "one.npz")
    np.savez(tmp_path / "objects.npz", classes=np.array(NAMES, dtype=object), transition=np.array(MATRIX))
    with pytest.raises(ValueError, match=r"objects\.npz is no \.npz of plain arrays .*names as text"):
        parse(tmp_path / "objects.npz")
