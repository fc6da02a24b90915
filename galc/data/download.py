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
COCO2014 = tuple(
    Archive(f"{SITE}/{name}", size, sha256)
    for name, size, sha256 in (
        ("annotations/annotations_trainval2014.zip", 252_872_794,
         "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009"),
        ("zips/val2014.zip", 6_645_013_297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
        ("zips/train2014.zip", 13_510_573_713, "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
    )
)  # fmt: skip


def data_folder(name: str) -> Path:
    """Where a downloaded data set lies unless told otherwise: $GALC_DATA/name, or outputs()/data/name."""
    root = os.environ.get("GALC_DATA")
    return (store.typed(root) if root else store.outputs() / "data") / name


def fetch(
    url: str,
    path: Path,
    sha256: str | None = None,
    size: int | None = None,
    retries: int = 5,
    md5: str | None = None,
    wait: float = 1.0,
) -> str:
    """Fetch one file and return the sha256 it has. A file that is there already is checked, not fetched again.

    What was received is kept in ``path``.part until it is whole and passes its checks, and a later call goes on from
    there. A broken connection is taken up again after ``wait``, 2 ``wait``, 4 ``wait``, ... seconds, ``retries`` times
    after the last attempt that brought anything.

    Raises ConnectionError (no connection, or it keeps breaking), FileNotFoundError or PermissionError (the server
    refuses), ValueError (wrong size or checksum; the .part is removed), OSError (full disk; the .part is kept).
    """
    path = Path(path)
    with store.locked(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return _verify(path, sha256, md5, size)
        part = path.with_name(path.name + ".part")
        _transfer(url, part, size, retries, wait)
        try:
            seen = _verify(part, sha256, md5, size)
        except ValueError:
            part.unlink()
            raise
        os.replace(part, path)
        return seen


def _verify(path: Path, sha256: str | None, md5: str | None, size: int | None) -> str:
    """The sha256 of a file. Raises ValueError if its size or a given checksum differs."""
    have, sums = path.stat().st_size, {"sha256": hashlib.sha256()}
    if md5:
        sums["md5"] = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file, _bar(f"checking {path.name}", have) as shown:
        while block := file.read(BLOCK):
            for one in sums.values():
                one.update(block)
            shown.update(len(block))
    seen = {"size": have} | {name: one.hexdigest() for name, one in sums.items()}
    for kind, expected in (("size", size), ("sha256", sha256), ("md5", md5)):
        if expected is not None and expected != seen[kind]:
            raise ValueError(
                f"{path.name}: {kind} is {seen[kind]}, expected {expected}; the file is damaged or has been replaced: "
                f"delete {path} if it is still there and run the command again"
            )
    return seen["sha256"]


def _transfer(url: str, part: Path, size: int | None, retries: int, wait: float) -> None:
    """Bring ``part`` to its full length, over as many connections as it takes."""
    failures = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part, have, size)
            return
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
        grown = part.exists() and part.stat().st_size > have
        failures = 1 if grown else failures + 1
        if failures > retries:
            kept = part.stat().st_size if part.exists() else 0
            raise ConnectionError(
                f"{url}: no more data after {failures} attempts ({problem}); check the connection or the proxy and "
                f"run the command again: it goes on from the {kept:,} bytes in {part}"
            ) from problem
        time.sleep(wait * 2 ** (failures - 1))


def _receive(url: str, part: Path, have: int, size: int | None) -> None:
    """One connection: append to ``part``, which has ``have`` bytes. Raises ConnectionError if it ends early."""
    if have and have == size:
        return
    request = urllib.request.Request(
        url, headers={"User-Agent": "galc"} | ({"Range": f"bytes={have}-"} if have else {})
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        if have and response.status != 206:  # the server does not resume: from the start
            have = 0
        if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError("the server resumes at another place")
        length = response.headers.get("Content-Length")
        total = size if length is None else have + int(length)
        if size is not None and total != size:
            raise ValueError(f"{url}: the server offers {total:,} bytes, expected {size:,}; the file has been replaced")
        require_space(part.parent, (total or 0) - have)
        with open(part, "ab" if have else "wb") as file, _bar(part.stem, total, have) as shown:
            while block := response.read(BLOCK):
                file.write(block)
                shown.update(len(block))
                have += len(block)
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended at {have:,} of {total:,} bytes")


def require_space(folder: Path, needed: int) -> None:
    """Raise OSError (ENOSPC) if a file system has less free space than ``needed`` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"{needed:,} bytes needed, {free:,} free; make room or choose another --root", folder
        )


def _bar(name: str, total: int | None, initial: int = 0) -> bar:
    return bar(desc=name, total=total, initial=initial, unit="B", unit_scale=True, unit_divisor=1024)


def extract(archive: Path, root: Path) -> None:
    """Extract a zip; what is there in full size is kept, so a second call goes on where the first one stopped.

    Each file is checked (CRC) before it gets its name. Raises ValueError naming the archive and member at fault.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            todo = []
            for member in file.infolist():
                target = Path(os.path.abspath(root / member.filename))
                if Path(os.path.abspath(root)) not in target.parents:
                    raise ValueError(f"{archive}: {member.filename} leads out of the folder; do not use this archive")
                if not member.is_dir() and not (target.is_file() and target.stat().st_size == member.file_size):
                    todo.append((member, target))
            root.mkdir(parents=True, exist_ok=True)
            require_space(root, sum(member.file_size for member, _ in todo))
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
        fetch(archive["url"], root / archive["filename"], md5=archive["md5"])
        voc.VOCDetection(root, year="2007", image_set=part, download=True)


FETCH = {"coco2014": coco2014, "voc2007": voc2007}


def command(name: str, root: str | None = None) -> None:
    """``galc download``: a data set of `FETCH` into ``root``, by default where `galc.data` looks for it.

    Raises OSError or ValueError that says what to do.
    """
    folder = store.typed(root) if root else data_folder(name)
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file; choose another --root")
    FETCH[name](folder)
    print(f"{name} is complete in {folder}")
