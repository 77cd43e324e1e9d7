"""Mutations of files: bytes, JSON, HDF5, NumPy's arrays, archives, safetensors and images.

Every one takes a random generator and a sound file, changes the file in place, and returns what it did and what a
command may do with the result: refuse it (``REFUSED``), refuse it or give the result of the sound file (``SAME``), or
refuse it or give finite numbers (``SANE``).
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REFUSED, SAME, SANE = "refused", "same", "sane"
Change = tuple[str, str]
Random = random.Random
GIANTS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
SECRET = "secret-4711"
"""What stands in a file that no command may read."""


def of_bytes(rng: Random, path: Path, expected: str = SAME) -> Change:
    """Truncate, flip, zero, insert, repeat or overwrite bytes."""
    data = bytearray(path.read_bytes())
    at = min(rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 512)))), len(data) - 1)
    size = min(rng.choice((1, 2, 8, 64, 1000, 4096)), len(data) - at)
    what = rng.choice(("cut", "flip", "zero", "giant", "insert", "repeat", "remove", "append", "digits", "noise"))
    if what == "cut":
        del data[at:]
    elif what == "flip":
        for place in [at, *rng.sample(range(len(data)), rng.choice((0, 1, 8)))]:
            data[place] ^= 1 << rng.randrange(8)
    elif what == "zero":
        data[at : at + size] = bytes(size)
    elif what == "giant":
        width = rng.choice((4, 8))
        number = rng.choice(GIANTS) % (1 << 8 * width)
        data[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
    elif what == "insert":
        data[at:at] = rng.randbytes(size)
    elif what == "repeat":
        data[at:at] = data[at : at + size]
    elif what == "remove":
        del data[at : at + size]
    elif what == "append":
        data += rng.choice((b"\0", b"\n", rng.randbytes(100), bytes(data)))
    elif what == "digits":
        places = [k for k, byte in enumerate(data[:4096]) if 48 <= byte <= 57] or [at]
        place = rng.choice(places)
        data[place : place + 1] = rng.choice((b"99999999999999999999", b"-1", b"0", b"1e400", b"NaN", b"9" * 5000))
    else:
        data[at : at + size] = rng.randbytes(size)
    path.write_bytes(data)
    return f"{what} at {at}, {size} bytes", expected if data else REFUSED


def not_regular(rng: Random, path: Path) -> Change:
    """Put something else in the place of the file: FIFO, device, folder, loop of links, socket, nothing."""
    what = rng.choice(("fifo", "zero", "fifo link", "random link", "folder", "loop", "empty", "dangling", "self"))
    path.unlink()
    if what == "fifo":
        os.mkfifo(path)
    elif what == "fifo link":
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")
    elif what == "folder":
        path.mkdir()
    elif what == "empty":
        path.touch()
    else:
        target = {"zero": "/dev/zero", "random link": "/dev/urandom", "dangling": "gone", "self": "/proc/self/mem"}
        path.symlink_to(target.get(what, path.name))
    return f"{what} in place of the file", REFUSED


def other_kind(rng: Random, path: Path) -> Change:
    """Put the content of another kind of file under the name."""
    deep = b"[" * 100_000
    contents = (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", b"PK\x05\x06" + bytes(18), deep)
    contents += (b"\x93NUMPY\x01\x00", b"\x89HDF\r\n\x1a\n", b"PAR1PAR1", b"\x80\x04cos\nsystem\n(S'touch trap'\ntR.")
    contents += (b"a,b\n1,2\n", b"\xff" * 1000, b"<svg/>", b"GIF89a\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n", b"{}")
    content = rng.choice(contents)
    path.write_bytes(content)
    return f"holds {content[:12]!r}", REFUSED


# JSON


def rubbish(rng: Random) -> Any:
    """A value that a reader of JSON may not expect."""
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    numbers = (0, 1, -1, 2**31, 2**63, 10**26, 1e308, float("nan"), float("inf"), 10**4000, 0.5)
    texts = ("", "x", "x" * 100_000, "\x1b[31mred", "\udcff", "../../etc/passwd", "/dev/zero", "1", "nan", "a\nb")
    others: list[Any] = [None, True, [], {}, [[]], {"": None}, deep, [1, "a", None], [10**9] * 3, [float("nan")] * 6]
    return rng.choice(rng.choice((numbers, texts, others)))


def of_json(rng: Random, value: Any) -> tuple[str, Any]:
    """The value with one of its parts replaced, removed, repeated or added."""
    parts: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            parts.append((node, key))
            collect(node[key])

    collect(value)
    if not parts or rng.random() < 0.03:
        return "all of it", rubbish(rng)
    shallow = parts[: max(1, len(parts) // 8)]
    node, key = rng.choice(rng.choice((parts, shallow)))
    what = rng.choice(("replace", "replace", "remove", "rename", "add"))
    if what == "remove":
        del node[key]
    elif what == "rename" and isinstance(node, dict):
        node[rng.choice(("", "x", f"{key} ", "\x1b[31m"))] = node.pop(key)
    elif what == "add" and isinstance(node, list):
        node.insert(key, rubbish(rng))
    else:
        node[key] = rubbish(rng)
    return f"{what} {str(key)[:40]!r} in JSON", value


def dumped(rng: Random, value: Any) -> str:
    """JSON text; now and then nested more deeply than a parser can follow."""
    text = json.dumps(value)
    if rng.random() < 0.04:
        return text.rstrip("}") + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}"
    return text


def of_json_file(rng: Random, path: Path) -> Change:
    """Change one value of a JSON file, or its bytes."""
    if rng.random() < 0.3:
        return of_bytes(rng, path, SANE)
    note, value = of_json(rng, json.loads(path.read_text()))
    path.write_text(dumped(rng, value))
    return note, SANE


# NumPy's arrays, archives


SHAPES = "(-5, 6)|(5, -6)|(1099511627776, 6)|(4294967296, 4294967296)|()|(30,)|(0, 6)|(6, 0)|(True, 6)|(5.0, 6)|(5, 6, 7)|'5'|None"
TYPES = "'<f4'|'<f4'|'|O'|'>f8'|'<c8'|'<U3'|'|V9'|[('a', '<f4')]|'<f99'|'|b1'|'<M8[s]'|'<f4; x'|9"


def npy_bytes(rng: Random) -> tuple[str, bytes]:
    """An array file with a header of our own."""
    shape = rng.choice((*re.split(r"\|(?=[(N'])", SHAPES), "(" * 300, "(" + "1," * 2000 + ")"))
    kind, fortran = rng.choice(re.split(r"\|(?=['\[9])", TYPES)), rng.choice(("False", "False", "True", "1", "'x'"))
    text = f"{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}" + rng.choice(("", " " * 70_000, "x"))
    version, size = rng.choice((1, 1, 2, 3, 9)), rng.choice((len(text), 2**32 - 1))
    length = struct.pack("<H", min(len(text), 65535)) if version == 1 else struct.pack("<I", size)
    return f"header {text[:90]}", b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + bytes(120 * 4)


def of_npy(rng: Random, path: Path) -> Change:
    """Replace the header, or put odd values among the rows."""
    if rng.random() < 0.6 or np.load(path).dtype.kind not in "fiu":
        note, data = npy_bytes(rng)
        path.write_bytes(data)
        return note, SANE
    rows = np.load(path).astype(np.float64)
    number = rng.choice((np.nan, np.inf, 1e300, 5e-324, -1.0, 300.0))
    rows[rng.randrange(len(rows))] = number
    np.save(path, rows)
    return f"{number} among the values", REFUSED if not abs(number) < 1e100 else SANE


def of_zip(rng: Random, path: Path, member: Callable[[Random, bytes], bytes] | None = None) -> Change:
    """Odd members: names, sizes, encryption, bombs, damage inside a sound archive."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    name, content = members[rng.randrange(len(members))]
    suffix = Path(name).suffix
    whats = "outside absolute control long bomb twice encrypted size inside inside method many nested"
    what = rng.choice(whats.split())
    odd = {
        "outside": "../trap",
        "absolute": "/tmp/trap",
        "control": "\x1b[31m\n",
        "long": "x" * 60_000,
        "nested": "a/" * 5000,
    }
    stored = [(n, c) for n, c in members if n != name]
    if what == "inside":
        beside = path.with_name("member" + suffix)
        beside.write_bytes(content)
        note, _ = (of_npy if suffix == ".npy" and rng.random() < 0.5 else of_bytes)(rng, beside)
        content, what = (
            member(rng, content) if member and rng.random() < 0.4 else beside.read_bytes(),
            f"inside: {note}",
        )
        beside.unlink()
    stored.append((odd[what] + suffix if what in odd else name, bytes(100_000_000) if what == "bomb" else content))
    stored += [(name, b"second")] * (what == "twice") + [(f"{k}{suffix}", b"") for k in range(3000 * (what == "many"))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in stored:
            archive.writestr(entry, data)
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    if what == "encrypted":
        data[at + 8] |= 1
    elif what == "size":
        data[at + 20 : at + 28] = struct.pack("<II", rng.choice((0, 7, 2**31)), rng.choice((0, 7, 2**32 - 2)))
    elif what == "method":
        data[at + 10] = 99
    path.write_bytes(data)
    return f"zip: {what}", SANE


def as_tar(rng: Random, path: Path) -> Change:
    """A tar archive, with members that lead elsewhere, under the name of a zip or its own."""
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("../trap.png", tarfile.REGTYPE),
            ("link.png", tarfile.SYMTYPE),
            ("/etc/x", tarfile.LNKTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    return "a tar archive", REFUSED


# Parquet


def of_parquet(rng: Random, path: Path) -> Change:
    """A table whose columns may be taken for others: ids, labels, nested or ragged vectors."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, rows = pq.read_table(path), 330
    numbers, flat = np.arange(rows), np.stack(table["latent"].to_numpy())
    wide = {f"z{k}": flat[:, k] for k in range(6)}
    nested = pa.array([[list(map(float, row[:3])), list(map(float, row[3:]))] for row in flat])
    binary = pa.array([row.tobytes() for row in flat])
    hole = [None, *flat.tolist()[1:]]
    refused: dict[str, Any] = {
        "id as a number": {"image_id": numbers + 10**9, **wide},
        "index of pandas": {"Unnamed: 0": numbers, **wide},
        "nested beside a label": {"embedding": nested, "label": numbers % 3},
        "binary beside scores": {"row": numbers, "embedding": binary, "score": numbers / 7},
        "ragged": {"latent": [[1.0] * (3 + k % 2) for k in range(rows)]},
        "null row": {"latent": hole},
        "NaN": {**wide, "z3": np.where(numbers == 7, np.nan, flat[:, 3])},
        "no rows": {"latent": pa.array([], pa.list_(pa.float32()))},
        "texts only": {"name": [str(k) for k in range(rows)]},
        "too large": {**wide, "z1": numbers * 1e300},
    }
    others: dict[str, Any] = {
        "odd names": {f"\x1b[31m{k}\n": flat[:, k] for k in range(6)},
        "many columns": {f"z{k}": numbers * 0.1 for k in range(3000)},
        "odd ids": {"id": ["\x1b[31m\n\x00"] * rows, "latent": flat.tolist()},
        "dictionary": {**wide, "z5": pa.array(["1", "2", "3"] * 110).dictionary_encode()},
        "times": {**wide, "z5": pa.array(numbers, pa.timestamp("s"))},
        "booleans": {**wide, "z5": numbers % 2 == 0},
        "unknown split": {"latent": flat.tolist(), "split": ["x\n"] * rows},
        "fixed lists": {"latent": pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), 6)},
        "structs": {"latent": pa.array([{"a": 1.0}] * rows)},
    }
    what = rng.choice((*refused, *others))
    pq.write_table(pa.table(refused.get(what) or others[what]), path)
    return f"table: {what}", REFUSED if what in refused else SANE


# Models


def of_onnx(rng: Random, path: Path) -> Change:
    """Versions, sizes and places of weights that a model may not have."""
    import onnx

    model = onnx.load(path)
    weights, node = rng.choice(model.graph.initializer), model.graph.node[0]
    what = rng.choice(("ir", "opset", "dims", "external", "external", "name", "input", "loop"))
    if what == "ir":
        model.ir_version = rng.choice((0, 99, 2**31))
    elif what == "opset":
        model.opset_import[0].version = rng.choice((0, 1, 99, 2**40))
    elif what == "dims":
        weights.dims[0] = rng.choice((-1, 0, 2**40, 2**62))
    elif what == "external":
        (path.parent / "secret.bin").write_text(SECRET * 2000)
        place = rng.choice(("secret.bin", "../../../../../../etc/passwd", "/dev/zero", "gone", str(path)))
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", "0"), ("length", str(rng.choice((64, 2**40))))):
            weights.external_data.add(key=key, value=value)
        what = f"external data in {Path(place).name}"
    elif what == "name":
        node.op_type = rng.choice(("\x1b[31m", "x" * 50_000, "Nothing"))
    elif what == "input":
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = rng.choice((0, -1, 2**40, 3))
    else:
        node.input[0] = node.output[0]
    path.write_bytes(model.SerializeToString())
    return f"onnx: {what}", SANE


def of_safetensors(rng: Random, path: Path) -> Change:
    """Change the header, the metadata of lsampler in it, or the numbers of a tensor."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
    expected = SANE
    what = rng.choice(("metadata", "metadata", "metadata", "header", "values", "values", "missing", "length"))
    if what == "metadata":
        meta = json.loads(header["__metadata__"]["lsampler"])
        what, meta = of_json(rng, meta)
        header["__metadata__"]["lsampler"] = dumped(rng, meta)
    elif what == "header":
        what, header = of_json(rng, header)
    else:
        name = rng.choice([key for key in header if key != "__metadata__"])
        if what == "missing":
            del header[name]
        elif what == "values":
            kinds = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I64": np.int64}
            kind = kinds.get(header[name]["dtype"], np.uint8)
            start, stop = header[name]["data_offsets"]
            numbers = np.frombuffer(body[start:stop], kind).copy()
            number = (
                rng.choice((np.nan, np.inf, -1.0, 0.0, 6e4))
                if numbers.dtype.kind == "f"
                else rng.choice((-1, 2**62))
                if numbers.dtype == np.int64
                else 0
            )
            numbers[rng.randrange(len(numbers)) if len(numbers) and rng.random() < 0.7 else slice(None)] = number
            body[start:stop] = numbers.tobytes()
            what, expected = f"{name} holds {number}", SANE if np.isfinite(number) else REFUSED
            if not len(numbers):
                expected = SANE
    text = json.dumps(header).encode()
    length = rng.choice((2**63, 2**64 - 1, 0, 10)) if what == "length" else len(text)
    path.write_bytes(struct.pack("<Q", length) + text + body)
    return f"safetensors: {what}", expected


# Images


def _png(width: int, height: int, depth: int, colour: int, body: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def of_image(rng: Random, path: Path) -> Change:
    """An image of an odd size, depth, mode or metadata; or another format under its name."""
    sides = (0, 1, 8, 65536, 80_000_000, 2**31 - 1)
    width, height = rng.choice(sides), rng.choice(sides)
    small = Image.effect_noise((8, 8), 60)
    what = rng.choice(("png size", "png text", "png profile", "exif", "mode", "format", "frames", "float"))
    stream = io.BytesIO()
    if what == "png size":
        stream.write(_png(width, height, rng.choice((1, 8, 16, 3)), rng.choice((0, 2, 3, 6, 5)), bytes(100_000)))
    elif what in ("png text", "png profile"):
        bomb = zlib.compress(bytes(100_000_000))
        chunk = (b"zTXt", b"k\0\0" + bomb) if what == "png text" else (b"iCCP", b"k\0\0" + bomb)
        stream.write(_png(8, 8, 8, 0, bytes(9 * 8), chunk))
    elif what == "exif":
        exif = rng.choice(
            (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", rng.randbytes(60), b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0")
        )
        small.save(stream, rng.choice(("JPEG", "PNG", "WEBP")), exif=exif)
    elif what == "mode":
        small.convert(rng.choice(("1", "P", "I", "F", "CMYK", "LAB", "RGBA", "I;16"))).save(stream, "TIFF")
    elif what == "format":
        kind = rng.choice(("EPS", "PDF", "ICNS", "PPM", "TGA", "PCX", "SGI", "DDS", "IM", "MSP", "SPIDER", "XBM"))
        small.convert({"XBM": "1", "MSP": "1", "DDS": "RGB", "SPIDER": "F", "ICNS": "RGBA"}.get(kind, "L")).save(
            stream, kind
        )
    elif what == "frames":
        small.save(stream, "GIF", save_all=True, append_images=[small.rotate(k) for k in range(50)])
    else:
        values = np.full((8, 8), rng.choice((np.nan, np.inf, 1e30, -1.0, 0.5)), np.float32)
        Image.fromarray(values).save(stream, "TIFF")
    path.write_bytes(stream.getvalue())
    return f"image: {what}", SANE
