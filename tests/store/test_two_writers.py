"""Two writers of one name: exactly one succeeds, and nothing of the other is left."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Answer, numbered, partial_folder

from lsampler import LsamplerError, open_store
from lsampler.data import open_images
from lsampler.models import ConvAutoencoder, EncodeOptions, encode_to_store
from lsampler.store import LatentStore, StoreWriter, export_latents, import_latents, merge_store, shard_store


class Meanwhile:
    """A progress bar that does something when work begins, as another process may."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        self.act()
        return lambda amount: None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "source.h5", 6, {"encoder": "abc"}) as writer:
        writer.append(numbered(0, 50))
    export_latents(tmp_path / "source.h5", tmp_path / "source.npy")
    shard_store(tmp_path / "source.h5", tmp_path / "source.shards", shard_rows=20)
    return tmp_path / "source.h5"


WRITERS: dict[str, Callable[[Path, Path, Any], object]] = {
    "import.h5": lambda source, out, bar: import_latents(source.with_suffix(".npy"), out, progress=bar),
    "export.npz": lambda source, out, bar: export_latents(source, out, progress=bar),
    "merge.h5": lambda source, out, bar: merge_store(source.with_suffix(".shards"), out, progress=bar),
    "shard.shards": lambda source, out, bar: shard_store(source, out, shard_rows=20, progress=bar),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("links", [True, False], ids=["", "without hard links"])
def test_what_appears_while_it_is_written_is_not_replaced(
    source: Path, tmp_path: Path, name: str, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the result of the writer that ended first was gone, without a word."""
    if not links:
        monkeypatch.setattr("os.link", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    out = tmp_path / name

    def appear() -> None:
        if out.suffix == ".shards":
            out.mkdir()
            (out / "other").touch()
        else:
            out.write_bytes(b"another")

    with pytest.raises(LsamplerError, match=rf"{name}: appeared while it was being written, and was not replaced"):
        WRITERS[name](source, out, Meanwhile(appear))
    assert [file.name for file in out.iterdir()] == ["other"] if out.is_dir() else out.read_bytes() == b"another"
    assert not list(tmp_path.glob(".*"))
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    WRITERS[name](source, out, None)
    assert out.exists()


def test_one_process_at_a_time_writes_a_store(source: Path, tmp_path: Path, cli: Callable[..., Answer]) -> None:
    out = tmp_path / "out.h5"
    with StoreWriter(out, 6, {}) as writer:
        writer.append(numbered(0, 3))
        for force in (False, True):
            with pytest.raises(LsamplerError, match=r"out\.h5: another process or writer is writing it; wait"):
                StoreWriter(out, 6, {}, force=force)
    assert len(open_store(out)) == 3

    def second() -> None:
        for force in ([], ["--force"]):
            answer = cli("store", "shard", source, "--out", tmp_path / "out.shards", *force)
            assert (answer.code, answer.err.count("\n")) == (2, 1)
            assert "out.shards: another process or writer is writing it; wait until it has finished" in answer.err

    shard_store(source, tmp_path / "out.shards", progress=Meanwhile(second))
    assert len(open_store(tmp_path / "out.shards")) == 50


def test_rows_are_not_appended_to_a_store_that_was_replaced_meanwhile(
    tmp_path: Path, tiny_model: ConvAutoencoder, tiny_store: LatentStore, digits_npy: Path
) -> None:
    np.save(tmp_path / "few.npy", np.load(digits_npy)[:40])
    out, options = tmp_path / "tiny.h5", EncodeOptions(append=True)

    def other() -> None:
        with StoreWriter(tmp_path / "other.h5", 6, {}) as writer:
            writer.append(numbered(0, 3))
        (tmp_path / "other.h5").replace(out)

    with pytest.raises(LsamplerError, match=r"tiny\.h5: was written by another process meanwhile"):
        encode_to_store(
            tiny_model,
            open_images(tmp_path / "few.npy"),
            out,
            held_out=0,
            options=options,
            progress=Meanwhile(other),
        )
    assert len(open_store(out)) == 3


def test_what_a_killed_run_left_is_removed_by_the_next(source: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from lsampler.store import export_latents\n"
        "class Kill:\n"
        "    def begin(self, *_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "export_latents(sys.argv[1], sys.argv[2], progress=Kill())\n"
    )
    out = tmp_path / "out.npz"
    done = subprocess.run([sys.executable, "-c", script, source, out], timeout=100)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".*"))) == 1
    other = tmp_path / "unrelated.npz"
    export_latents(source, other)
    assert len(list(tmp_path.glob(".*"))) == 1, "another output may be under way"
    export_latents(source, out)
    assert not list(tmp_path.glob(".*"))
    assert not partial_folder(out).exists()
