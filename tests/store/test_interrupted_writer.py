"""Writing of a store that is killed, interrupted or out of space: nothing committed is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import committed_shards as pieces
from support import numbered, partial_folder

from lsampler import LsamplerError, open_store
from lsampler.store import LatentStore, StoreWriter

D = 6


def writer_of(path: Path) -> StoreWriter:
    """A writer that commits every ten rows."""
    return StoreWriter(path, D, {"encoder": "abc"}, commit_rows=10)


def write(path: Path, rows: NDArray[np.float32]) -> LatentStore:
    with writer_of(path) as writer:
        writer.append(rows)
    return open_store(path)


def interrupted_writer(path: Path, start: int, stop: int) -> StoreWriter:
    """A writer that has committed these rows, ten at a time."""
    writer = writer_of(path)
    for first in range(start, stop, 10):
        writer.append(numbered(first, first + 10))
    return writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "latents.h5"


# Kills. A helper process that has one thread forks the writers, so that a kill costs milliseconds.

KILLING = """
import json, os, random, signal, sys
from pathlib import Path
import numpy as np
from lsampler import LsamplerError, open_store
from lsampler.store import StoreWriter
from support import committed_shards as pieces, numbered, partial_folder

D, ROWS, COMMIT = 6, 70, 32
folder, chance = Path(sys.argv[1]), random.Random(20)

def writer(path):
    return StoreWriter(path, D, {"encoder": "abc"}, commit_rows=COMMIT)

def fill(path, rows=ROWS):
    out = writer(path)
    at = out.committed
    while at < rows:
        stop = min(at + 11, rows)
        out.append(numbered(at, stop), [f"{k}.png" for k in range(at, stop)])
        at = stop
    out.commit()
    return out

def write(path, rows=ROWS):
    if not path.exists():
        fill(path, rows).finish()

def check(path, rows=ROWS):
    '''The rows committed so far; all of them, if there is a store.'''
    if path.exists():
        store = open_store(path)
        assert store.verify() == []
        assert np.array_equal(store.read(), numbered(0, rows))
        assert store.ids() == [f"{k}.png" for k in range(rows)]
        return rows
    try:
        open_store(path)
    except LsamplerError as error:
        assert "unfinished" in str(error) or "no such" in str(error), error
    else:
        raise AssertionError("neither complete nor absent")
    at = 0
    for piece in map(open_store, pieces(path)):
        assert np.array_equal(piece.read(), numbered(at, at + len(piece)))
        at += len(piece)
    return at

def child(act):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(0)
    return pid

def killed(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
"""


def _kill(scenario: str, folder: Path) -> dict[str, Any]:
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    command = [sys.executable, "-c", KILLING + scenario, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_writer_killed_at_every_kind_of_step_loses_nothing_committed(tmp_path: Path) -> None:
    """The moments are counted in function calls, so that the narrow ones are certainly hit."""
    result = _kill(
        """
def counted(path, fatal, steps):
    count = 0
    def step(frame, event, argument):
        nonlocal count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(step)
    write(path, ROWS)
    sys.setprofile(None)
    steps.write_text(str(count))

# Caches that the children inherit are filled first, so that they all take the same steps.
counted(folder / "whole.h5", 0, folder / "steps")
check(folder / "whole.h5", ROWS)
killed(child(lambda: counted(folder / "again.h5", 0, folder / "steps")))
total = int((folder / "steps").read_text())
# Renaming the store and removing the pieces are among the last calls.
fatal = sorted({*chance.sample(range(1, total - 150), 20), *range(total - 150, total, 5)})
kills = states = 0
for moment in fatal:
    path = folder / f"{moment}.h5"
    kills += killed(child(lambda: counted(path, moment, folder / "steps")))
    states |= 1 << (path.exists() + 2 * bool(pieces(path)))
    before = check(path, ROWS)
    write(path, ROWS)
    writer(path).finish()
    assert check(path, ROWS) == ROWS >= before
    assert not partial_folder(path).exists()
print(json.dumps({"planned": len(fatal), "kills": kills, "states": states}))
""",
        tmp_path,
    )
    # A cache may still shift the count by a few calls.
    assert result["kills"] >= result["planned"] - 10
    assert result["states"] == 0b1111, "absent, complete, pieces only, and complete with pieces not yet removed"


@pytest.mark.parametrize("base_rows", [0, 7])
def test_pieces_left_after_the_rename_are_not_merged_twice(path: Path, base_rows: int) -> None:
    if base_rows:
        write(path, numbered(0, base_rows))
    rows = base_rows + 2 * 10
    writer = interrupted_writer(path, base_rows, rows)
    shutil.copytree(partial_folder(path), partial_folder(path).with_name("kept"))
    writer.finish()
    partial_folder(path).with_name("kept").rename(partial_folder(path))  # as if killed before it was removed
    assert len(pieces(path)) == 2
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, rows))
    with writer_of(path) as writer:
        assert writer.committed == 0
        writer.append(numbered(rows, rows + 3))
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, rows + 3))
    assert not partial_folder(path).exists()


def test_pieces_that_cannot_be_removed_do_not_spoil_the_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda folder, ignore_errors=False: None)
        write(path, numbered(0, 10))
    assert partial_folder(path).is_dir()
    np.testing.assert_array_equal(write(path, numbered(10, 12)).read(), numbered(0, 12))


def test_missing_piece_is_told_and_not_passed_over(path: Path) -> None:
    interrupted_writer(path, 0, 30)
    pieces(path)[1].unlink()
    with pytest.raises(LsamplerError, match="a shard is missing"):
        writer_of(path)


# Ctrl-C, failures and full disks


@pytest.mark.parametrize("exception", [KeyboardInterrupt, LsamplerError, MemoryError])
def test_exception_keeps_all_appended_rows_and_a_new_writer_goes_on(path: Path, exception: type[BaseException]) -> None:
    def interrupted() -> None:
        with writer_of(path) as writer:
            writer.append(numbered(0, 10))
            writer.append(numbered(10, 13))
            raise exception

    with pytest.raises(exception):
        interrupted()
    assert not path.exists()
    with writer_of(path) as writer:
        assert writer.committed == 13
        writer.append(numbered(13, 20))
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, 20))


def test_interrupt_while_merging_keeps_the_old_store_and_all_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, numbered(0, 5))
    before = path.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LatentStore, "rows", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(path, numbered(5, 9))
    assert path.read_bytes() == before
    writer_of(path).finish()
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, 9))


LIMITED = """
import json, resource, signal, sys
from pathlib import Path
import numpy as np
from lsampler import LsamplerError, open_store
from lsampler.store import StoreWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, messages = Path(sys.argv[1]), []

def write(rows):
    with StoreWriter(path, 16, {"encoder": "abc"}) as writer:
        writer.append(np.ones((rows, 16)), [str(k) for k in range(rows)])

write(500)
for rows in (500, 9000):
    for limit in (0, 100, 2000, 9000, 70_000, 150_000, 290_000):
        before = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            write(rows)
        except LsamplerError as error:
            messages.append(str(error))
            assert path.read_bytes() == before
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        StoreWriter(path, 16, {"encoder": "abc"}).finish()
        assert open_store(path).verify() == []
print(json.dumps(messages))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit of the file size")
def test_file_that_may_not_grow_leaves_the_old_store_and_one_line(path: Path) -> None:
    """Regression: HDF5 reported a full disk as RuntimeError on closing, and crashed the process thereafter."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    messages = json.loads(done.stdout)
    assert len(messages) >= 10
    for message in messages:
        assert message.startswith(str(path))
        assert "File too large" in message
        assert "\n" not in message
    assert [p.name for p in path.parent.iterdir()] == [path.name]
