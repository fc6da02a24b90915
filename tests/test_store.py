"""The cache under fire: whole entries or none, broken ones computed again, one computation for many processes."""

import errno
import json
import multiprocessing
import os
import pickle
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galc import store

KEY = {"stage": "test", "rate": 0.4}


def numbers() -> tuple[dict[str, np.ndarray], dict]:
    """A small result: arrays of several dtypes and shapes, and a record."""
    arrays = {
        "scores": np.arange(12, dtype=np.float32).reshape(3, 4),
        "labels": np.array([[True, False], [False, True]]),
        "empty": np.zeros((0, 5), dtype=np.int64),
        "step": np.array(7.0, dtype=np.float32),
    }
    return arrays, {"seconds": 1.5, "classes": ["cat", "dog"]}


def explode():
    """A computation that must not run."""
    raise AssertionError("computed again")


def leftovers(folder: Path) -> list[str]:
    """Temporary files that a write left behind."""
    return [path.name for path in folder.rglob("*.tmp")]


def test_an_entry_comes_back_as_it_was_stored():
    first = store.cached("stage", KEY, numbers)
    again = store.cached("stage", KEY, explode)
    for name, array in numbers()[0].items():
        assert again.arrays[name].dtype == array.dtype and again.arrays[name].shape == array.shape
        np.testing.assert_array_equal(again.arrays[name], array)
    assert again.record == first.record == {"seconds": 1.5, "classes": ["cat", "dog"], "key": KEY}
    assert not leftovers(store.outputs())


def test_keys_of_another_order_are_the_same_entry_and_other_values_are_not():
    store.cached("stage", {"a": 1, "b": 2}, numbers)
    store.cached("stage", {"b": 2, "a": 1}, explode)
    with pytest.raises(AssertionError, match="computed again"):
        store.cached("stage", {"a": 1, "b": 3}, explode)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip_a_bit_of_the_arrays(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(data)


def flip_a_bit_of_the_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[10] ^= 0x10
    path.write_bytes(data)


def replace_by_text(path: Path) -> None:
    path.write_text("no safetensors at all")


def drop_the_record(path: Path) -> None:
    store.save_file({"scores": np.zeros(3)}, path)


def _edit_header(path: Path, change) -> None:
    """Rewrite the header of a safetensors file, its arrays left as they are."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])


def alter_a_number_of_the_record(path: Path) -> None:
    def change(header):
        header["__metadata__"]["record"] = header["__metadata__"]["record"].replace("1.5", "9.5")

    _edit_header(path, change)
    assert b"9.5" in path.read_bytes()


def rename_an_array(path: Path) -> None:
    _edit_header(path, lambda header: header.update(scored=header.pop("scores")))


def exchange_two_arrays_of_one_shape(path: Path) -> None:
    arrays = {"a": np.zeros(3), "b": np.ones(3)}
    store.save(path, arrays, {})
    _edit_header(path, lambda header: header.update(a=header["b"], b=header["a"]))


def drop_an_array(path: Path) -> None:
    _edit_header(path, lambda header: header.pop("empty"))


def drop_the_checksum(path: Path) -> None:
    _edit_header(path, lambda header: header["__metadata__"].pop("sha256"))


DAMAGES = [truncate, empty, flip_a_bit_of_the_arrays, flip_a_bit_of_the_header, replace_by_text, drop_the_record]
DAMAGES += [alter_a_number_of_the_record, rename_an_array, exchange_two_arrays_of_one_shape, drop_an_array]
DAMAGES += [drop_the_checksum]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_broken_entry_is_reported_and_computed_again(damage):
    path = store.cached("stage", KEY, numbers).path
    damage(path)
    calls = []
    with pytest.warns(UserWarning, match=rf"{path.name}.*broken.*computing it again"):
        store.cached("stage", KEY, lambda: calls.append(1) or numbers())
    assert calls == [1]
    np.testing.assert_array_equal(store.cached("stage", KEY, explode).arrays["scores"], numbers()[0]["scores"])


def test_what_is_missing_or_broken_is_none_or_where_it_must_be_there_an_error(tmp_path):
    assert store.read(tmp_path / "none") is None
    with pytest.raises(FileNotFoundError):
        store.read(tmp_path / "none", strict=True)
    path = store.cached("stage", KEY, numbers).path
    truncate(path)
    with pytest.raises(ValueError, match="header"):
        store.read(path, strict=True)


def test_no_single_flipped_bit_of_an_entry_changes_what_is_read():
    path = store.cached("stage", KEY, numbers).path
    whole, trusted = path.read_bytes(), 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            entry = store.read(path)
        if entry is None:
            assert "broken" in str(caught[0].message)
            continue
        trusted += 1  # a space between the parts of the header, say
        assert entry.record == {"seconds": 1.5, "classes": ["cat", "dog"], "key": KEY}
        for name, array in numbers()[0].items():
            np.testing.assert_array_equal(entry.arrays[name], array)
    assert trusted < 10


def test_reading_runs_no_code_from_a_file(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    path = store.path_of("stage", KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.warns(UserWarning, match="broken"):
        assert store.read(path) is None
    assert not (tmp_path / "trapped").exists()


def test_a_full_disk_leaves_nothing_behind_and_is_not_hidden(monkeypatch):
    def full(arrays, path, metadata):
        Path(path).write_bytes(b"half an entry")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(store, "save_file", full)
        with pytest.raises(OSError, match="No space left"):
            store.cached("stage", KEY, numbers)
    assert not leftovers(store.outputs()) and not list(store.outputs().rglob("*.safetensors"))
    store.cached("stage", KEY, numbers)
    store.cached("stage", KEY, explode)


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = store.write_text(tmp_path / "note.txt", "old")
    with pytest.raises(RuntimeError, match="stopped"), store.atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("stopped")
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["note.txt"]


def test_a_failed_computation_stores_nothing():
    with pytest.raises(AssertionError):
        store.cached("stage", KEY, explode)
    assert not list(store.outputs().rglob("*.safetensors"))
    store.cached("stage", KEY, numbers)


def compute_slowly(outputs: Path, log: Path, gate: "multiprocessing.synchronize.Barrier") -> None:
    """Want the entry at the same moment as the other processes; note each computation in a log."""
    os.environ["GALC_OUTPUTS"] = str(outputs)

    def compute():
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.2)
        return numbers()

    gate.wait()
    np.testing.assert_array_equal(store.cached("stage", KEY, compute).arrays["scores"], numbers()[0]["scores"])


def test_processes_that_want_the_same_entry_compute_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(2)
    arguments = (store.outputs(), tmp_path / "log", gate)
    processes = [context.Process(target=compute_slowly, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def die_before_the_rename(outputs: Path) -> None:
    """Write the whole temporary file, then be killed, as by the out-of-memory killer, before its name is final."""
    os.environ["GALC_OUTPUTS"] = str(outputs)
    store.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    store.cached("stage", KEY, numbers)


def test_a_process_killed_between_write_and_rename_blocks_nobody():
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=die_before_the_rename, args=(store.outputs(),))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not list(store.outputs().rglob("*.safetensors")) and leftovers(store.outputs())
    store.cached("stage", KEY, numbers)
    store.cached("stage", KEY, explode)
    assert not leftovers(store.outputs())  # the next computation of the entry has cleaned up


def test_left_over_files_go_with_their_own_entry_or_after_a_day():
    folder = store.path_of("stage", KEY).parent
    folder.mkdir(parents=True)
    own, young, old = (
        folder / f".{name}.tmp" for name in (f"{store.path_of('stage', KEY).name}.x", "other.y", "old.z")
    )
    for path in (own, young, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * store.DAY,) * 2)
    kept = store.write_text(folder / "notes.tmp", "not hidden, not ours")
    store.cached("stage", KEY, numbers)
    assert not own.exists() and not old.exists()
    assert young.exists() and kept.exists()  # another process may be writing the one, the other is no left-over


def test_a_relative_outputs_folder_is_one_of_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for named, folder in (("elsewhere", "elsewhere"), ("~/runs", "home/runs"), ("../there", "../there")):
        monkeypatch.setenv("GALC_OUTPUTS", named)
        assert store.outputs() == Path(os.path.abspath(tmp_path / folder))


def test_without_a_name_outputs_are_those_of_the_checkout_or_of_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GALC_OUTPUTS")
    assert store.CHECKOUT == store.ROOT and store.outputs() == store.ROOT / "outputs"
    monkeypatch.setattr(store, "CHECKOUT", None)  # installed: never beside the package
    assert store.outputs() == tmp_path / "outputs"


def test_a_typed_path_starts_at_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    typed = {"a/b.csv": tmp_path / "a" / "b.csv", "../c": tmp_path.parent / "c", "/d/e": "/d/e", "~/f": "/home/me/f"}
    assert {name: store.typed(name) for name in typed} == {name: Path(path) for name, path in typed.items()}


def test_json_is_written_whole_and_read_back(tmp_path):
    value = {"mAP": 51.3, "path": Path("a"), "classes": ["été"]}
    path = store.write_json(tmp_path / "new" / "record.json", value)
    assert json.loads(path.read_text()) == {"mAP": 51.3, "path": "a", "classes": ["été"]}


def test_the_digest_of_arrays_sees_bytes_dtype_and_shape():
    a = np.arange(6, dtype=np.int32)
    others = [a + 1, a.astype(np.int64), a.reshape(2, 3), a.view(np.float32)]
    digests = {store.array_digest(x) for x in [a, *others]}
    assert len(digests) == 5
    assert store.array_digest(a.reshape(2, 3).T) == store.array_digest(np.ascontiguousarray(a.reshape(2, 3).T))


@given(
    st.dictionaries(st.text(max_size=3), st.integers() | st.floats(allow_nan=False) | st.text(max_size=3), max_size=4)
)
def test_the_digest_of_a_record_does_not_depend_on_the_order_of_its_keys(record):
    assert store.digest(record) == store.digest(dict(reversed(record.items())))


def test_the_digest_of_a_file_is_the_digest_of_its_content(tmp_path):
    one, two = store.write_text(tmp_path / "a", "x"), store.write_text(tmp_path / "b", "x")
    assert store.file_digest(one) == store.file_digest(two) != store.file_digest(store.write_text(two, "y"))


@pytest.mark.parametrize("fault", ["read-only", "a file"])
def test_a_folder_that_cannot_be_written_to_is_one_line_that_says_what_to_set(fault, tmp_path, monkeypatch):
    if fault == "a file":
        (tmp_path / "outputs").mkdir(exist_ok=True)
        (tmp_path / "outputs" / "cache").write_text("")
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OSError, match=r"^cannot write to .*cache.* \(.*\): set GALC_OUTPUTS to a folder that can"):
        store.cached("stage", {}, lambda: ({}, {}))
