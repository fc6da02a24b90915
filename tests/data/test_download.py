"""Downloads against a local server that breaks off, ignores ranges, lies, or is not there."""

import errno
import hashlib
import io
import json
import socket
import tarfile
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image
from test_data import coco_document, voc_xml, write_voc
from torchvision.datasets import voc

from galc import cli
from galc.data import download
from galc.data.load import load

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``files`` (path -> bytes); ``cuts`` lists after how many body bytes each answer in turn breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/file.bin": CONTENT}
        self.cuts: list[int] = []
        self.status: list[int] = []  # answers given first, in place of the file
        self.ranges = True
        self.shift = 0  # resumes so many bytes beside the place asked for
        self.asked: list[str | None] = []  # the Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.status:
            return self.send_error(server.status.pop(0))
        if self.path not in server.files:
            return self.send_error(404)
        body, start = server.files[self.path], 0
        if asked and server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start + server.shift}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(body)
        self.wfile.write(body[start : start + cut])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server, path, **options):
    return download.fetch(f"{server.url}/file.bin", path, **{"wait": 0.001, **options})


def test_a_file_arrives_whole_under_its_name_alone(server, tmp_path):
    assert fetch(server, tmp_path / "deep" / "file.bin", checksum=SHA256, size=len(CONTENT)) == SHA256
    assert (tmp_path / "deep" / "file.bin").read_bytes() == CONTENT
    assert not list(tmp_path.rglob("*.part"))


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [1000, 20_000]
    fetch(server, tmp_path / "file.bin", checksum=SHA256)
    assert server.asked == [None, "bytes=1000-", "bytes=21000-"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_later_call_goes_on_from_what_an_earlier_one_kept(server, tmp_path):
    server.cuts = [5000]
    with pytest.raises(ConnectionError, match=r"goes on from the 5,000 bytes in .*file.bin.part"):
        fetch(server, tmp_path / "file.bin", retries=0)
    assert not (tmp_path / "file.bin").exists()
    fetch(server, tmp_path / "file.bin", checksum=SHA256)
    assert server.asked[1:] == ["bytes=5000-"]


def test_a_server_without_ranges_is_read_from_the_start(server, tmp_path):
    server.ranges, server.cuts = False, [1000]
    fetch(server, tmp_path / "file.bin", checksum=SHA256)
    assert server.asked == [None, "bytes=1000-"] and (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_server_that_resumes_at_another_place_is_read_from_the_start(server, tmp_path):
    server.shift, server.cuts = 7, [1000]
    fetch(server, tmp_path / "file.bin", checksum=SHA256)
    assert server.asked == [None, "bytes=1000-", None]


def test_a_connection_that_brings_nothing_new_is_given_up_after_the_retries(server, tmp_path):
    server.cuts = [1000] + [0] * 9
    with pytest.raises(ConnectionError, match="no more data after 4 attempts"):
        fetch(server, tmp_path / "file.bin", retries=3)
    assert len(server.asked) == 4 and (tmp_path / "file.bin.part").stat().st_size == 1000


def test_a_server_busy_for_a_while_is_asked_again(server, tmp_path):
    server.status = [503, 429]
    assert fetch(server, tmp_path / "file.bin") == SHA256


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path / "file.bin", checksum=SHA256) == SHA256


def test_a_complete_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "file.bin", checksum=SHA256, size=len(CONTENT)) == SHA256
    assert server.asked == []


@pytest.mark.parametrize("check", ["0" * 64, "0" * 32])
def test_a_wrong_checksum_is_refused_and_the_part_removed(server, tmp_path, check):
    with pytest.raises(ValueError, match=r"file.bin.part: (sha256|md5) is \w+, expected 0+"):
        fetch(server, tmp_path / "file.bin", checksum=check)
    assert not list(tmp_path.glob("file.bin*[!k]"))


def test_a_wrong_size_is_refused_before_the_transfer(server, tmp_path):
    with pytest.raises(ValueError, match="offers 102,400 bytes, expected 5"):
        fetch(server, tmp_path / "file.bin", size=5)
    assert not (tmp_path / "file.bin.part").exists()


def test_a_file_that_is_there_is_checked_and_not_fetched(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "file.bin", checksum=SHA256) == SHA256
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert fetch(server, tmp_path / "file.bin", checksum=md5) == md5
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"file.bin: sha256 is .* delete .*file.bin"):
        fetch(server, tmp_path / "file.bin", checksum=SHA256)
    assert server.asked == []


@pytest.mark.parametrize("code, kind", [(404, FileNotFoundError), (403, PermissionError)])
def test_a_refusal_is_not_retried(server, tmp_path, code, kind):
    server.status = [code]
    with pytest.raises(kind, match=rf"file.bin: the server answers {code}"):
        fetch(server, tmp_path / "file.bin")
    assert len(server.asked) == 1


def test_without_a_connection_the_error_says_what_to_do(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(ConnectionError, match=r"no more data after 2 attempts .*check the connection or the proxy"):
            download.fetch(url, tmp_path / "x", retries=1, wait=0.001)


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_reported_before_the_transfer(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage(10**6, 10**6, 100))
    with pytest.raises(OSError, match="102,400 bytes needed, 100 free; make room") as error:
        fetch(server, tmp_path / "file.bin")
    assert error.value.errno == errno.ENOSPC


# --- extraction ----------------------------------------------------------------------------------------------------


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_extraction_keeps_what_is_whole_and_mends_the_rest(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"d/": b"", "d/one": b"1111", "d/two": b"2222", "three": b"3333"}))
    (tmp_path / "out" / "d").mkdir(parents=True)
    (tmp_path / "out/d/one").write_bytes(b"kept")
    (tmp_path / "out/d/two").write_bytes(b"22")
    download.extract(tmp_path / "a.zip", tmp_path / "out")
    files = {str(f.relative_to(tmp_path / "out")): f.read_bytes() for f in (tmp_path / "out").rglob("*") if f.is_file()}
    assert files == {"d/one": b"kept", "d/two": b"2222", "three": b"3333"}


def test_a_damaged_member_gets_no_name(tmp_path):
    content = zipped({"good": b"1111", "bad": b"2222"}).replace(b"2222", b"2x22", 1)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.zip is damaged .*'bad'.*delete it and run the command again"):
        download.extract(tmp_path / "a.zip", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["good"]


def test_a_member_that_leads_out_of_the_folder_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"good": b"1", "../evil": b"2"}))
    with pytest.raises(ValueError, match=r"../evil leads out of the folder"):
        download.extract(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()


def test_something_else_than_a_zip_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"a.zip is damaged"):
        download.extract(tmp_path / "a.zip", tmp_path / "out")


# --- the command ---------------------------------------------------------------------------------------------------


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_the_command_makes_coco2014_loadable_over_a_breaking_connection(server, tmp_path, monkeypatch, capsys):
    archives = {}
    for part in ("train2014", "val2014"):
        archives[f"/{part}.zip"] = zipped({f"{part}/{n}.png": jpeg() for n in (7, 3, 5, 9)})
    document = json.dumps(coco_document())
    names = [f"annotations/instances_{part}.json" for part in ("train2014", "val2014")]
    archives["/annotations.zip"] = zipped(dict.fromkeys(names, document.encode()))
    server.files, server.cuts = archives, [100, 100]
    table = [download.Archive(server.url + p, len(b), hashlib.sha256(b).hexdigest()) for p, b in archives.items()]
    monkeypatch.setattr(download, "COCO2014", tuple(table))
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    assert cli.main(["download", "coco2014", "--root", str(tmp_path)]) == 0
    assert f"sha256 {table[0].sha256}" in capsys.readouterr().out
    assert [len(load("coco2014", part, root=tmp_path)) for part in ("train", "test")] == [4, 4]
    requests = len(server.asked)
    assert cli.main(["download", "coco2014", "--root", str(tmp_path)]) == 0
    assert len(server.asked) == requests  # complete: nothing is asked for again


def test_the_command_makes_voc2007_loadable(server, tmp_path, monkeypatch):
    for part, key in (("trainval", "2007"), ("test", "2007-test")):
        tree = write_voc(tmp_path / f"source-{part}", part, {f"{part}1": voc_xml(("dog", 0), ("cat", 0))})
        with tarfile.open(tmp_path / f"{part}.tar", "w") as archive:
            archive.add(tree / "VOCdevkit", "VOCdevkit")
        content = (tmp_path / f"{part}.tar").read_bytes()
        server.files[f"/{part}.tar"] = content
        entry = voc.DATASET_YEAR_DICT[key] | {"url": f"{server.url}/{part}.tar"}
        monkeypatch.setitem(voc.DATASET_YEAR_DICT, key, entry | {"md5": hashlib.md5(content).hexdigest()})
    monkeypatch.setenv("GALC_DATA", str(tmp_path / "data"))
    assert cli.main(["download", "voc2007"]) == 0
    assert [len(load("voc2007", part)) for part in ("train", "test")] == [1, 1]


def test_the_command_reports_errors_in_one_line_and_exits_with_2(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "COCO2014", (download.Archive(f"{server.url}/gone.zip", 3, SHA256),))
    assert cli.main(["download", "coco2014", "--root", str(tmp_path)]) == 2
    assert f"error: {server.url}/gone.zip: the server answers 404" in capsys.readouterr().err


def test_the_official_archives_are_fully_described():
    names = [archive.name for archive in download.COCO2014]
    assert names == ["annotations_trainval2014.zip", "val2014.zip", "train2014.zip"]
    assert all(len(bytes.fromhex(archive.sha256)) == 32 for archive in download.COCO2014)
