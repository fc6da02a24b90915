"""Writes what Hugging Face's ``datasets`` saves to disk, with pyarrow alone, in any of its versions' ways."""

import io
import json
from pathlib import Path

import pyarrow as pa
from PIL import Image

NAMES = ["cat", "dog", "ü"]
ROWS = [[0, 1], [2], [], [1]]
LABEL = {"names": NAMES, "_type": "ClassLabel"}
WAYS = {
    "Sequence": {"feature": LABEL, "_type": "Sequence"},
    "List": {"feature": LABEL, "_type": "List"},
    "brackets": [LABEL],
}


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(out, "PNG")
    return out.getvalue()


def write_saved(root: Path, way: str = "Sequence", rows=None, feature=None, kind=None, shards: int = 2) -> Path:
    """A saved part with the columns image, labels and note."""
    rows = ROWS if rows is None else rows
    root.mkdir(parents=True, exist_ok=True)
    feature = WAYS[way] if feature is None else feature
    features = {"image": {"_type": "Image"}, "labels": feature, "note": {"dtype": "string", "_type": "Value"}}
    pictures = pa.array(
        [{"bytes": png(n), "path": f"{n}.png"} for n in range(len(rows))],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    schema_note = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    columns = {
        "image": pictures,
        "labels": pa.array(rows, kind or pa.list_(pa.int64())),
        "note": pa.array([f"note {n}" for n in range(len(rows))]),
    }
    table = pa.table(columns).replace_schema_metadata(schema_note)
    size, names = -(-len(rows) // shards), []
    for n in range(shards):
        name = f"data-{n:05d}-of-{shards:05d}.arrow"
        part = table.slice(n * size, size)
        with pa.OSFile(str(root / name), "wb") as sink, pa.ipc.new_stream(sink, part.schema) as stream:
            stream.write_table(part)
        names.append({"filename": name})
    (root / "dataset_info.json").write_text(json.dumps({"features": features, "description": "ä"}))
    (root / "state.json").write_text(json.dumps({"_data_files": names, "_fingerprint": "0123456789abcdef"}))
    return root
