"""Run a command in a process of its own, with limits of time and memory, and judge how it ends.

The process that calls this imports lsampler once and forks for every command.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import hashlib
import importlib
import json
import os
import pkgutil
import re
import resource
import select
import shutil
import signal
import stat
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hostile.mutations import REFUSED, SAME, SECRET
from PIL import Image

from lsampler.errors import printable

SECONDS, CPU_SECONDS = 45, 30
MEMORY = 4 << 30
HEAVY = "torch sklearn.ensemble scipy.stats matplotlib.pyplot pyarrow.parquet onnxruntime lightning distributed zuko"
FOREIGN = "keras pythae.models diffusers"


@dataclass
class Case:
    """A command with a hostile input; ``names`` are what a refusal may name."""

    arguments: Sequence[str]
    names: Sequence[str]
    note: str
    expected: str
    sound: Sequence[str] = ()
    """The same command with the sound input, whose result a mutated input may give."""
    check: Callable[[str], str | None] | None = None
    """What is wrong with the result of a command that accepted the input; it is given the standard output."""
    environment: Mapping[str, str] = field(default_factory=dict)
    stdout: str = ""
    """``closed`` for a pipe that nobody reads, or a device in place of standard output."""
    resumed: bool = False
    """Whether the folder of outputs holds what an earlier run has left."""


Build = Callable[[Any, Path, Path], Case]
"""Makes a case: a random generator, the folder of sound inputs, and a folder with ``in`` and ``out``."""


def import_all(*names: str) -> None:
    """Import what commands import, so that forked processes need not."""
    os.environ |= {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    lsampler, plugins = importlib.import_module("lsampler"), importlib.import_module("lsampler_plugins")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        for package in (lsampler, plugins):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
    importlib.import_module("torch").set_num_threads(1)
    gc.freeze()  # a forked process would copy all memory that it looks through for garbage


# What files hold


def content(path: Path) -> Any:
    """What a file or folder holds, without the time of writing and the path of its input: equal for equal results."""
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file())
        return {str(p.relative_to(path)): content(p) for p in found}
    if path.suffix == ".h5":
        with h5py.File(path, "r") as handle:
            rows = {
                name: _digest(handle[name][:].tobytes()) for name in handle if isinstance(handle[name], h5py.Dataset)
            }
            skipped = ("created", "run", "lsampler", "session", "source", "reference")
            return rows | {key: str(value) for key, value in handle.attrs.items() if key not in skipped}
    if path.name == "manifest.json":
        return [(shard["file"], shard["rows"]) for shard in json.loads(path.read_text())["shards"]]
    if path.suffix == ".png":
        with Image.open(path) as image:
            return _digest(np.asarray(image).tobytes())
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _digest(arrays[name].tobytes()) for name in arrays.files}
    return _digest(path.read_bytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def listing(folder: Path) -> dict[str, str]:
    """Every file below a folder, with kind, size, time of change and a digest of the smaller ones."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            known = os.lstat(path)
            regular = stat.S_ISREG(known.st_mode)
            data = path.read_bytes() if regular and known.st_size < 1 << 22 else b""
            key = os.fsencode(os.path.relpath(path, folder)).decode(errors="backslashreplace")
            found[key] = f"{known.st_mode:o} {known.st_size if regular else ''} {_digest(data)}"
    return found


# One process


def _main(arguments: Sequence[str]) -> int:
    """Run the command line as Python would at the top: the exit code, tracebacks on standard error."""
    from lsampler.cli import main

    sys.argv = ["lsampler", *arguments]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def redirected(arguments: Sequence[str], *, at_exit: bool = False, stdout: str = "") -> tuple[int, str, str]:
    """Run a command in this process; the exit code, standard output and standard error."""
    kept = [os.dup(1), os.dup(2)]
    pipes = [os.pipe(), os.pipe()]  # files would be subject to the limits that are tried
    for number, (_, writer) in enumerate(pipes, 1):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
        os.dup2(writer, number)
        os.close(writer)
    if stdout == "closed":
        os.close(pipes[0][0])
    elif stdout:
        os.dup2(os.open(stdout, os.O_WRONLY), 1)
    streams = sys.stdout, sys.stderr
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8", errors="strict")
    sys.stderr = open(2, "w", closefd=False, encoding="utf-8", errors="backslashreplace", buffering=1)
    try:
        code = _main(arguments)
        if at_exit:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
        except OSError as error:  # as Python itself says it
            code = 120
            print(f"Exception ignored on flushing sys.stdout: {error!r}", file=sys.stderr)
    finally:
        for number, file in enumerate(kept, 1):
            os.dup2(file, number)
            os.close(file)
        _ENDED.extend((sys.stdout, sys.stderr))
        sys.stdout, sys.stderr = streams
    return code, *(_drained(reader) for reader, _ in pipes)


_ENDED: list[Any] = []
"""Streams that must not be closed: what they could not write would go to those of the harness."""


def _drained(reader: int) -> str:
    data = b""
    with contextlib.suppress(OSError):
        os.set_blocking(reader, False)
        while piece := os.read(reader, 1 << 20):
            data += piece
    with contextlib.suppress(OSError):
        os.close(reader)
    return data.decode(errors="replace")


def forked(act: Callable[[Callable[[str], None]], str], seconds: float = SECONDS) -> tuple[str, str, int]:
    """Run ``act`` in a forked process: what it said last before its result, its result, and the peak of its memory.

    The result says how the process ended if it was killed or took too long.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.setsid()
        try:
            limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY + (1 << 30)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.alarm(int(seconds) + 30)  # in case the process that waits is killed
            result = act(lambda text: os.write(writer, json.dumps({"said": text}).encode() + b"\n") and None)
        except BaseException:
            result = "the harness failed: " + traceback.format_exc()
        os.write(writer, json.dumps({"result": result}).encode() + b"\n")
        os._exit(0)
    os.close(writer)
    data, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([reader], [], [], max(0, end - time.monotonic()))[0]:
            piece = os.read(reader, 1 << 16)
            data += piece
            if not piece or (b'{"result"' in data and data.endswith(b"\n")):
                break
    late = time.monotonic() >= end
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL) if late else None
    _, status, usage = os.wait4(pid, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # what it left running
    os.close(reader)
    lines = [json.loads(line) for line in data.decode().splitlines() if line.endswith("}")]
    said = next((line["said"] for line in reversed(lines) if "said" in line), "")
    result = next((line["result"] for line in lines if "result" in line), None)
    if result is None:
        code = os.waitstatus_to_exitcode(status)
        busy = code == -signal.SIGXCPU
        result = f"hung for {seconds:.0f} s" if late else f"{CPU_SECONDS} s of computing" if busy else f"died by {code}"
    return said, result, usage.ru_maxrss * 1024


def made(folder: Path, *makers: Callable[[Path], object]) -> None:
    """Fill a folder with sound inputs, in forked processes."""
    for make in makers:

        def act(_: object, make: Callable[[Path], object] = make) -> str:
            make(folder)
            return ""

        _, problem, _ = forked(act, 600)
        if problem:
            raise SystemExit(problem)


# Judging


NAMES_IT = "does not belong to|No such option: -|/out: exists already"
"""Of the file of a store whose name is in the text, of what looks like an option, or of the folder of an empty name."""


def judge(case: Case, code: int, out: str, err: str, folder: Path, before: Mapping[str, str]) -> str:
    """What is wrong with how a command ended; an empty text if nothing is."""
    if case.stdout and code in (1, 141) and err.count("\n") < 2 and "Exception ignored" not in err:
        code = 0  # nobody reads, or the disk is full: any code of failure will do
    problems = problems_of_output(code, out, err)
    output, left = folder / "out", sorted(path.name for path in (folder / "out").iterdir())
    if code == 2:
        line = err.rstrip("\n")
        if not any(name in line or printable(name) in line for name in case.names) and not re.search(NAMES_IT, line):
            problems.append("the line names neither the file nor the argument")
        kept = [name for name in left if not name.endswith(".partial")]
        if kept and not case.resumed:
            problems.append(f"refused, but left {kept}")
    if code == 0 and case.expected == REFUSED:
        problems.append("accepted what must be refused")
    if code == 0 and case.check and (problem := case.check(out)):
        problems.append(problem)
    now = _around(folder)
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        problems.append(f"changed {changed[:5]} beside its output")
    if _leaks(output) or SECRET in out + err:
        problems.append("shows a file that it may not read")
    return "; ".join(problems)


def _around(folder: Path) -> dict[str, str]:
    return {name: what for name, what in listing(folder).items() if not name.startswith("out")}


def problems_of_output(code: int, out: str, err: str) -> list[str]:
    """What is wrong with an exit code and with what was printed."""
    problems = []
    if code not in (0, 2):
        problems.append(f"exit code {code}")
    if "Traceback" in out + err:
        problems.append("traceback")
    if "please report it" in err:
        problems.append("an error that nobody expected")
    if code == 2 and (err.count("\n") != 1 or not err.startswith("lsampler: ")):
        problems.append(f"{err.count(chr(10))} lines on stderr")
    if code == 0 and err:
        problems.append("accepted, with words on stderr")
    odd = re.sub(r"[\n\t]", "", out + err)
    if not odd.isprintable() and any(not c.isprintable() and ord(c) < 160 for c in odd):
        problems.append("control characters")
    if len(out + err) > 20_000:
        problems.append(f"{len(out + err)} characters of output")
    return problems


def _leaks(output: Path) -> bool:
    mark = SECRET.encode()
    found = (path for path in output.rglob("*") if path.is_file() and not path.is_symlink())
    return any(mark in path.read_bytes() for path in found if path.stat().st_size < 1 << 24)


def attempt(build: Build, rng: Any, base: Path, folder: Path) -> tuple[str, str, str]:
    """Make a case in a folder, run it and judge it: ``refused``, ``accepted`` or ``failed``, what it was, what it said."""

    def act(say: Callable[[str], None]) -> str:
        for name in ("in", "out"):
            (folder / name).mkdir(parents=True)
        case = build(rng, base, folder)
        shown = " ".join(argument if len(argument) < 200 else argument[:80] + "..." for argument in case.arguments)
        say(json.dumps([case.note, shown.replace(str(folder), ".").replace(str(base), "BASE")]))
        os.chdir(folder / "out")
        before, earlier = _around(folder), listing(folder / "out")
        os.environ |= case.environment
        if paths := case.environment.get("PYTHONPATH"):
            sys.path[:0] = [paths]
            sys.dont_write_bytecode = True  # Python's own files beside the plugins are no matter of the command
            importlib.invalidate_caches()
        code, out, err = redirected(case.arguments, stdout=case.stdout)
        problem = judge(case, code, out, err, folder, before)
        now = listing(folder / "out")
        lost = [name for name, what in earlier.items() if now.get(name) != what]
        if code == 2 and lost and case.arguments[0] != "train":  # the epochs of a training count, whatever comes after
            problem = "; ".join([*filter(None, [problem]), f"refused, but changed {lost[:5]}"])
        if not problem and code == 0 and case.expected == SAME and case.sound:
            problem = _differs(case, out, folder)
        first = " | ".join([*err.strip().splitlines()[-3:], *out.strip().splitlines()[:2]])[:600]
        return json.dumps(["failed" if problem else "accepted" if code == 0 else "refused", problem, first])

    try:
        said, result, memory = forked(act)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    note, command = json.loads(said) if said else ("", "")
    verdict, problem, first = json.loads(result) if result.startswith("[") else ("failed", result, "")
    if memory > MEMORY:
        verdict, problem = "failed", f"{problem}; {memory / 2**30:.1f} GB of memory"
    return verdict, f"{note}: `lsampler {command}`", f"{problem}. {first}" if problem else first


def _differs(case: Case, out: str, folder: Path) -> str:
    """Whether the result differs from that of the sound input."""
    (folder / "out").rename(folder / "given")
    (folder / "out").mkdir()
    os.chdir(folder / "out")
    code, _, err = redirected(case.sound)
    if code:
        return f"the sound input is refused: {err}"
    if content(folder / "given") != content(folder / "out"):
        return "another result than that of the sound input"
    return ""


def words_of(command: str, places: dict[str, str]) -> list[str]:
    """The arguments of a command, with the paths that stand for names in capitals."""
    words = command.split()
    for place, value in places.items():
        words = [word.replace(place, value) for word in words]
    return words
