"""Fetch the data sets that are not embedded: ``galc download coco2014 --root PATH``.

Transfers resume where they broke off and are checked before they get their final name; so is what is extracted.
"""

import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from galc import store
from galc.progress import bar

BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A file of a data set: its address, size in bytes, and sha256."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


# The official site publishes no checksums. These are the ones that TensorFlow Datasets recorded
# (tensorflow_datasets/url_checksums/coco.txt); torchvision's prototype data sets state the same.
SITE = "http://images.cocodataset.org"
COCO2014 = (
    Archive(f"{SITE}/annotations/annotations_trainval2014.zip", 252_872_794,
            "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009"),
    Archive(f"{SITE}/zips/val2014.zip", 6_645_013_297,
            "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
    Archive(f"{SITE}/zips/train2014.zip", 13_510_573_713,
            "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
)  # fmt: skip


def data_folder(name: str) -> Path:
    """Where a downloaded data set lies unless told otherwise: $GALC_DATA/name, or outputs()/data/name."""
    root = os.environ.get("GALC_DATA")
    return (store.typed(root) if root else store.outputs() / "data") / name


def fetch(
    url: str, path: Path, checksum: str | None = None, size: int | None = None, retries: int = 5, wait: float = 1.0
) -> str:
    """Fetch one file and return its checksum: a sha256, or the md5 where ``checksum`` is one (of 32 digits).

    A file that is there already is checked, not fetched again. What was received is kept in ``path``.part until it is
    whole and passes its check, and a later call goes on from there. A broken connection is taken up again after
    ``wait``, 2 ``wait``, 4 ``wait``, ... seconds, ``retries`` times after the last attempt that brought anything.

    Raises ConnectionError (no connection, or it keeps breaking), FileNotFoundError or PermissionError (the server
    refuses), ValueError (wrong size or checksum; the .part is removed), OSError (full disk; the .part is kept).
    """
    path = Path(path)
    with store.locked(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return _verify(path, checksum, size)
        part = path.with_name(path.name + ".part")
        _transfer(url, part, size, retries, wait)
        try:
            seen = _verify(part, checksum, size)
        except ValueError:
            part.unlink()
            raise
        os.replace(part, path)
        return seen


def _verify(path: Path, checksum: str | None, size: int | None) -> str:
    """The checksum of a file. Raises ValueError if it or the size differs."""
    kind = "md5" if checksum and len(checksum) == 32 else "sha256"
    have, sum = path.stat().st_size, hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file, _bar(f"checking {path.name}", have) as shown:
        while block := file.read(BLOCK):
            sum.update(block)
            shown.update(len(block))
    for what, seen, expected in (("size", have, size), (kind, sum.hexdigest(), checksum)):
        if expected not in (None, seen):
            raise ValueError(
                f"{path.name}: {what} is {seen}, expected {expected}; the file is damaged or has been replaced: "
                f"delete {path} if it is still there and run the command again"
            )
    return sum.hexdigest()


def _transfer(url: str, part: Path, size: int | None, retries: int, wait: float) -> None:
    """Bring ``part`` to its full length, over as many connections as it takes."""
    failures = 0
    while True:
        have = _length(part)
        try:
            return _receive(url, part, have, size)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # more was kept than the server has: it cannot be of this file
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                kind = PermissionError if error.code in (401, 403) else FileNotFoundError
                raise kind(f"{url}: the server answers {error.code} {error.reason}; check the address") from error
            problem = error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = error
        failures = 1 if _length(part) > have else failures + 1
        if failures > retries:
            raise ConnectionError(
                f"{url}: no more data after {failures} attempts ({problem}); check the connection or the proxy and "
                f"run the command again: it goes on from the {_length(part):,} bytes in {part}"
            ) from problem
        time.sleep(wait * 2 ** (failures - 1))


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _receive(url: str, part: Path, have: int, size: int | None) -> None:
    """One connection: append to ``part``, which has ``have`` bytes. Raises ConnectionError if it ends early."""
    if have and have == size:
        return
    headers = {"User-Agent": "galc"} | ({"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response:
        if response.status != 206:  # the server does not resume: from the start
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError("the server resumes at another place")
        length = response.headers.get("Content-Length")
        total = size if length is None else have + int(length)
        if size not in (None, total):
            raise ValueError(f"{url}: the server offers {total:,} bytes, expected {size:,}; the file has been replaced")
        _require_space(part.parent, (total or 0) - have)
        with open(part, "ab" if have else "wb") as file, _bar(part.stem, total, have) as shown:
            while block := response.read(BLOCK):
                file.write(block)
                shown.update(len(block))
                have += len(block)
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended at {have:,} of {total:,} bytes")


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        problem = f"{needed:,} bytes needed, {free:,} free; make room or choose another --root"
        raise OSError(errno.ENOSPC, problem, folder)


def _bar(name: str, total: int | None, initial: int = 0) -> bar:
    return bar(desc=name, total=total, initial=initial, unit="B", unit_scale=True, unit_divisor=1024)


def extract(archive: Path, root: Path) -> None:
    """Extract a zip; what is there in full size is kept, so a second call goes on where the first one stopped.

    Each file is checked (CRC) before it gets its name. Raises ValueError naming the archive and member at fault.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            todo, inside = [], Path(os.path.abspath(root))
            for member in file.infolist():
                target = Path(os.path.abspath(root / member.filename))
                if inside not in target.parents:
                    raise ValueError(f"{archive}: {member.filename} leads out of the folder; do not use this archive")
                if not member.is_dir() and not (target.is_file() and target.stat().st_size == member.file_size):
                    todo.append((member, target))
            root.mkdir(parents=True, exist_ok=True)
            _require_space(root, sum(member.file_size for member, _ in todo))
            for member, target in bar(todo, desc=f"extracting {archive.name}", unit="files"):
                with file.open(member) as source, store.atomic(target) as temporary, open(temporary, "wb") as out:
                    shutil.copyfileobj(source, out, BLOCK)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive} is damaged ({error}); delete it and run the command again") from error


def coco2014(root: Path) -> None:
    """Fetch and extract COCO 2014 into ``root`` (20 GB, as much again while the archives are kept)."""
    for archive in COCO2014:
        seen = fetch(archive.url, root / archive.name, archive.sha256, archive.size)
        print(f"{archive.name}: {archive.size:,} bytes, sha256 {seen}")
        extract(root / archive.name, root)


def voc2007(root: Path) -> None:
    """Fetch Pascal VOC 2007 into ``root``: transferred by `fetch`, extracted and laid out by torchvision."""
    from torchvision.datasets import voc

    for part, key in (("trainval", "2007"), ("test", "2007-test")):
        archive = voc.DATASET_YEAR_DICT[key]
        fetch(archive["url"], root / archive["filename"], archive["md5"])
        voc.VOCDetection(root, year="2007", image_set=part, download=True)


FETCH = {"coco2014": coco2014, "voc2007": voc2007}


def command(name: str, root: str | None = None) -> None:
    """``galc download``: a data set of `FETCH` into ``root``, by default where `galc.data.load` looks for it."""
    folder = store.typed(root) if root else data_folder(name)
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file; choose another --root")
    FETCH[name](folder)
    print(f"{name} is complete in {folder}")
