"""Sharded stores that are damaged, or whose files disagree: named by file and rows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sharded import D
from support import Answer, damage_chunk

from lsampler import LsamplerError, open_store
from lsampler.store import LatentStore, ShardedStore, export_latents, shard_store
from lsampler.store.writer import write_store


def _cut(folder: Path) -> None:
    data = (folder / "00000001.h5").read_bytes()
    (folder / "00000001.h5").write_bytes(data[:-100])


def _swap(folder: Path) -> None:
    first, second = (folder / f"0000000{k}.h5" for k in (0, 1))
    first.rename(folder / "first")
    second.rename(first)
    (folder / "first").rename(second)


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A manifest that says something else."""

    def harm(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return harm


def _other_run(folder: Path) -> None:
    """The same shard of a store that differs in nothing but its rows."""
    other = folder.with_name("other.shards")
    rows = np.random.default_rng(7).normal(size=(5000, D)).astype(np.float32)
    write_store(folder.with_name("other.h5"), D, [rows], {"encoder": "abc", "kind": "test"})
    shard_store(folder.with_name("other.h5"), other, shard_rows=1300)
    data = (other / "00000000.h5").read_bytes()
    (folder / "00000000.h5").write_bytes(data)
    _manifest(lambda manifest: manifest["shards"][0].update(bytes=len(data)))(folder)


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "00000002.h5").unlink(), r"00000002\.h5: this shard is missing"),
        (_cut, r"00000001\.h5: has \d+ bytes, the manifest says \d+"),
        (_swap, r"0000000[01]\.h5: "),
        (
            _manifest(lambda manifest: manifest["shards"][3].update(rows=1101)),
            r"00000003\.h5: its rows is 1100, the manifest says 1101",
        ),
        (
            _manifest(lambda manifest: manifest["shards"][0].update(file="../../secret.h5")),
            r"manifest\.json: not the manifest of a sharded store \(shards\.0\.file",
        ),
        (
            lambda folder: (folder / "manifest.json").unlink(),
            r"is a folder, expected a latent store \(a sharded one holds manifest\.json\)",
        ),
        (
            _manifest(lambda manifest: manifest.update(format_version=2)),
            r"manifest\.json: format_version 2, this lsampler reads 1; install the lsampler that wrote it",
        ),
        (_other_run, r"00000000\.h5: its run is \w+, the manifest says \w+"),
        (_manifest(lambda manifest: manifest["shards"].pop()), r"00000003\.h5: is not in the manifest"),
        (
            _manifest(lambda manifest: manifest["attributes"].update(kind="samples")),
            r"00000000\.h5: its kind is test, the manifest says samples",
        ),
        (
            _manifest(lambda manifest: manifest["shards"][0].update(train=9999)),
            r"shards\.0: value error, 9999 of 1300 rows",
        ),
        (_a_file, r"is a file, expected the folder of a sharded store"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff{"), r"manifest\.json: damaged"),
    ],
)
def test_disagreement_is_one_line(
    cli: Callable[..., Answer], shards: ShardedStore, harm: Callable[[Path], None], message: str
) -> None:
    harm(shards.path)
    with pytest.raises(LsamplerError, match=message) as caught:
        open_store(shards.path)
    assert "\n" not in str(caught.value)
    answer = cli("store", "info", shards.path)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)


def test_many_problems_are_counted(
    cli: Callable[..., Answer], shards: ShardedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShardedStore, "verify", lambda self, progress: [f"rows {k}: bad" for k in range(25)])
    answer = cli("store", "verify", shards.path)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert answer.err.endswith("rows 19: bad; and 5 more\n")


def test_a_manifest_that_miscounts_a_split_is_found(shards: ShardedStore, tmp_path: Path) -> None:
    manifest = json.loads((shards.path / "manifest.json").read_text())
    true = manifest["shards"][0]["train"]
    manifest["shards"][0]["train"] -= 1
    (shards.path / "manifest.json").write_text(json.dumps(manifest))
    store = open_store(shards.path)
    assert store.verify() == [f"00000000.h5: {true} rows are in the split train, the manifest says {true - 1}"]
    with pytest.raises(LsamplerError, match=r"vectors of the split, .* counted; run 'lsampler store verify'"):
        export_latents(shards.path, tmp_path / "out.npy", split="train")
    assert not (tmp_path / "out.npy").exists()


def test_permissions_that_are_lacking_are_one_line(
    whole: LatentStore, shards: ShardedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the system answers those who are not root.
    monkeypatch.setattr(os, "access", lambda place, mode: place not in (shards.path, shards.path / "manifest.json"))
    with pytest.raises(LsamplerError, match="cannot be replaced; change its permissions"):
        shard_store(whole.path, shards.path, force=True)
    with pytest.raises(LsamplerError, match=r"manifest\.json: cannot be read; check its permissions"):
        open_store(shards.path)


def test_damage_is_named_by_shard_and_rows(shards: ShardedStore) -> None:
    path = shards.path / "00000001.h5"
    damage_chunk(path)
    store = open_store(shards.path)
    assert [problem.split(",")[0] for problem in store.verify()] == ["00000001.h5: rows 0..1299: damaged"]
    with pytest.raises(LsamplerError, match=r"00000001\.h5: rows 0\.\.1299 are damaged"):
        store.statistics()
