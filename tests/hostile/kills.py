"""Commands that are killed, that race for one name, or that find the disk full, and how they end when run again."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hostile.judging import content, forked, listing, problems_of_output, redirected
from hostile.mutations import Random

import lsampler

ROWS = 30_000
TRAIN = "train BASE/images.npy --size 8 --filters 4,8 --grey --no-flip --latent-dim 4 --epochs 8 --held-out 8 --seed SEED --out OUT/x"
ENCODE = "encode BASE/many.npy --model BASE/tiny.safetensors --held-out 60 --batch-size 64"
PICTURES = "sample -p gaussian --store BASE/store.h5 --model BASE/tiny.safetensors"
JOBS = {
    "encode": f"{ENCODE} --out OUT/x.h5",
    "encode to shards": f"{ENCODE} --out OUT/x.shards",
    "append": "encode BASE/images.npy --model BASE/tiny.safetensors --held-out 5 --batch-size 2 --append --out OUT/x.h5",
    "train": TRAIN,
    "sample": f"sample -p pca-ellipse -n {ROWS} --store BASE/store.h5 --seed SEED --out OUT/x.h5",
    "sample to shards": f"sample -p pca-ellipse -n {ROWS} --store BASE/store.h5 --seed SEED --out OUT/x.shards",
    "sample to a folder": f"{PICTURES} -n 600 --seed SEED --out OUT/x",
    "sample to a grid": f"{PICTURES} -n 900 --seed SEED --out OUT/x.png",
    "replace": f"sample -p pca-ellipse -n {ROWS} --store BASE/store.h5 --seed SEED --force --out OUT/x.h5",
    "replace a folder": f"{PICTURES} -n 300 --seed SEED --force --out OUT/x",
    "fit": "fit -p gaussian-mixture --store BASE/store.h5 --out OUT/x.safetensors",
    "import": "store import BASE/big.npy --held-out 10 --out OUT/x.h5",
    "export to .npy": "store export BASE/big.h5 --out OUT/x.npy",
    "export to .npz": "store export BASE/big.h5 --out OUT/x.npz",
    "export to .parquet": "store export BASE/big.h5 --out OUT/x.parquet",
    "shard": "store shard BASE/big.h5 --out OUT/x.shards --rows 2048",
    "merge": "store merge BASE/big.shards --out OUT/x.h5",
    "bundle": "bundle --out OUT/x.safetensors --model BASE/tiny.safetensors --store BASE/store.h5",
    "evaluate": "evaluate -p gaussian -p kde -n 3000 --store BASE/store.h5 --seed SEED --json OUT/x.json",
    "compare": "compare -p gaussian -p kde -e core-membership -e latent-distances -n 200 --store BASE/store.h5 --out OUT/x",
    "analyze": "analyze BASE/store.h5 --section components --section origin --section correlations --out OUT/x",
    "decode": "decode BASE/big.h5 -n 1500 --model BASE/tiny.safetensors --out OUT/x",
}
IN_PLACE = ("train", "compare", "analyze")
"""Their folder is filled step by step, and completed by another run."""
TIMED = ("index.html", "scores.json", "row.json", "training.csv", "training.png", "last.ckpt")
"""Files that say how long the work took."""
SIGNALS = {
    "SIGKILL": (signal.SIGKILL, -9),
    "SIGTERM": (signal.SIGTERM, 143),
    "SIGHUP": (signal.SIGHUP, 129),
    "SIGINT": (signal.SIGINT, 130),
    "SIGINT twice": (signal.SIGINT, 130),
}


def make_sound(folder: Path) -> None:
    """The inputs of the commands, large enough that writing takes a while."""
    rng = np.random.default_rng(1)
    np.save(folder / "big.npy", rng.normal(size=(ROWS, 6)).astype(np.float32) * [1, 2, 3, 1, 1, 1])
    model = lsampler.bundles.load_safetensors_autoencoder(folder / "tiny.safetensors")
    lsampler.store.import_latents(folder / "big.npy", folder / "big.h5", held_out=1000, autoencoder=model)
    lsampler.store.shard_store(folder / "big.h5", folder / "big.shards", shard_rows=2048)
    small = lsampler.data.open_images(folder / "many.npy")
    lsampler.models.encode_to_store(model, small, folder / "before.h5", held_out=10)
    sample = [word.replace("BASE", str(folder)) for word in f"{PICTURES} -n 30 --out BASE/before".split()]
    code, _, err = redirected(sample)
    assert code == 0, err


class Jobs:
    """The commands with their undisturbed results, each computed when it is first needed."""

    def __init__(self, base: Path, room: Path) -> None:
        self._base, self.room = base, room
        self._known: dict[tuple[str, int], tuple[float, Any]] = {}

    def prepare(self, name: str) -> Path:
        """An empty folder of outputs, always the same one because paths stand in reports."""
        shutil.rmtree(self.room, ignore_errors=True)
        out = self.room / "out"
        out.mkdir(parents=True)
        self.place(name, out)
        return out

    def place(self, name: str, out: Path) -> None:
        """What is there before the command."""
        if name in ("append", "replace"):
            shutil.copy(self._base / "before.h5", out / "x.h5")
        elif name == "replace a folder":
            shutil.copytree(self._base / "before", out / "x")

    def arguments(self, name: str, seed: int = 1) -> list[str]:
        """The command, or how to run it again."""
        out, again = self.room / "out", []
        if name == "train" and (out / "x" / "checkpoints" / "last.ckpt").exists():
            again = ["--resume"]
        places = {"BASE": str(self._base), "OUT": str(out), "SEED": str(seed)}
        words = JOBS[name].split()
        for place, value in places.items():
            words = [word.replace(place, value) for word in words]
        return words + again

    def undisturbed(self, name: str, seed: int = 1) -> tuple[float, Any]:
        """How long the command takes, and what it writes: only the parts that are the same in two runs."""
        if (name, seed) not in self._known:
            found = []
            for _ in range(2):
                self.prepare(name)
                started = time.monotonic()
                code, _, err = run(self.arguments(name, seed), self.room)
                if code:
                    raise SystemExit(f"{name} fails undisturbed: {code} {err}")
                found.append((time.monotonic() - started, flat(self.room / "out")))
            (_, first), (seconds, second) = found
            unstable = {key for key in first if first[key] != second.get(key)}
            self._known[name, seed] = seconds, {key: None if key in unstable else first[key] for key in first}
        return self._known[name, seed]

    def differs(self, name: str, seed: int = 1) -> str:
        """How what is in the folder of outputs differs from the undisturbed result."""
        _, expected = self._known[name, seed]
        found = flat(self.room / "out")
        more, less = sorted(found.keys() - expected.keys()), sorted(expected.keys() - found.keys())
        other = sorted(
            key
            for key in expected.keys() & found.keys()
            if None not in (expected[key], found[key]) and expected[key] != found[key]
        )
        texts = (("left over: ", more), ("missing: ", less), ("different: ", other))
        return "; ".join(text + ", ".join(names[:4]) for text, names in texts if names)


def flat(out: Path) -> dict[str, Any]:
    """What every file holds by its path, hidden ones included; of stores every dataset."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        try:
            held = content(path)
        except OSError as error:
            held = f"unreadable: {error}"
        found[str(path.relative_to(out))] = None if path.name in TIMED else held
    return found


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """The files that are no leftovers of an unfinished run."""
    parts = {key: Path(key).parts[0] for key in found}
    return {key: held for key, held in found.items() if not parts[key].startswith(".") and ".partial" not in parts[key]}


def run(arguments: Sequence[str], folder: Path, limit: Callable[[], object] | None = None) -> tuple[int, str, str]:
    """Run a command in a process of its own, undisturbed."""

    def act(_: object) -> str:
        os.chdir(folder)
        if limit:
            limit()
        return json.dumps(redirected(arguments, at_exit=True))

    _, result, _ = forked(act, 120)
    return tuple(json.loads(result)) if result.startswith("[") else (1, "", result)  # type: ignore[return-value]


def begun(arguments: Sequence[str], folder: Path, name: str) -> tuple[int, Path]:
    """Start a command; its process, and the file in which it says how it ended."""
    answer = folder / f".answer-{name}"
    answer.unlink(missing_ok=True)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        (folder / name).mkdir(exist_ok=True)
        os.chdir(folder / name)
        os.write(writer, b"x")
        try:
            ended = redirected(arguments, at_exit=True)
        except BaseException as error:  # a signal outside the command itself
            ended = (1, "", f"outside: {error!r}")
        answer.write_text(json.dumps(ended))
        os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return pid, answer


def ended(pid: int, answer: Path, seconds: float = 60) -> tuple[int, str, str]:
    """Wait for a process: its exit code, standard output and standard error."""
    end = time.monotonic() + seconds
    while not (found := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 1, "", f"hung for {seconds:.0f} s"
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(found[1])
    if code or not answer.exists():
        return code or 1, "", ""
    return tuple(json.loads(answer.read_text()))  # type: ignore[return-value]


def killed(jobs: Jobs, name: str, rng: Random, room: Path, base: Path) -> tuple[str, str]:
    """Kill a command at a random moment and run it again: what was done, and what is wrong."""
    seconds, wanted = jobs.undisturbed(name)
    out = jobs.prepare(name)
    inputs, before = listing(base), shown(flat(out))
    word = rng.choice(list(SIGNALS))
    number, expected = SIGNALS[word]
    after = 0.03 + rng.random() * seconds
    pid, answer = begun(jobs.arguments(name), room, "one")
    time.sleep(after)
    for pause in (0, 0.03)[: 2 if word == "SIGINT twice" else 1]:
        time.sleep(pause)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    code, stdout, err = ended(pid, answer)
    what = f"{word} after {after:.2f} of {seconds:.2f} s"
    problems = []
    allowed = (0, expected, -number, *((130,) if name == "train" else ()))
    if code not in allowed:
        problems.append(f"exit code {code} after {word}: {err[-200:]}")
    if "Traceback" in err + stdout or "Exception ignored" in err:
        problems.append(f"traceback after {word}: {err[-300:]}")
    left = flat(out)
    hidden = [key for key in left if Path(key).parts[0].startswith(".")]
    if number != signal.SIGKILL and hidden and word != "SIGINT twice":
        problems.append(f"{word} left {hidden[:3]}")
    if name not in IN_PLACE and shown(left) not in ({}, before, shown(wanted)):
        problems.append(f"{word} left an output neither complete nor absent: {list(shown(left))[:4]}")
    problems += rerun(jobs, name, room)
    if listing(base) != inputs:
        problems.append("changed its input")
    return what, "; ".join(problems)


def rerun(jobs: Jobs, name: str, room: Path) -> list[str]:
    """Run a command again and compare with the undisturbed result."""
    arguments = jobs.arguments(name)
    code, stdout, err = run(arguments, room)
    problems = []
    done = not jobs.differs(name)
    if code and not (code == 2 and done):
        problems.append(f"rerun: exit code {code}: {err[-300:]}")
    if "Traceback" in err + stdout:
        problems.append(f"rerun: traceback: {err[-300:]}")
    if difference := jobs.differs(name):
        problems.append(f"after the rerun {difference}")
    return problems


def raced(jobs: Jobs, name: str, rng: Random, room: Path) -> tuple[str, str]:
    """Two commands write one name: exactly one succeeds, and what is there is its result."""
    seconds, _ = jobs.undisturbed(name, 1)
    jobs.undisturbed(name, 2)
    jobs.prepare(name)
    after = rng.random() * rng.choice((0.02, 0.5, 1)) * seconds
    processes = []
    for seed in (1, 2):
        processes.append(begun(jobs.arguments(name, seed), room, f"seed{seed}"))
        time.sleep(after if seed == 1 else 0)
    ends = [ended(*process) for process in processes]
    codes = [code for code, _, _ in ends]
    problems = []
    winners = [seed for seed, code in zip((1, 2), codes, strict=True) if code == 0]
    if len(winners) != 1 and name not in ("compare", "analyze", "replace", "replace a folder"):
        problems.append(f"{len(winners)} of two writers succeeded")
    for code, stdout, err in ends:
        if code:
            problems += problems_of_output(code, stdout, err)
    same = [seed for seed in winners or (1,) if not jobs.differs(name, seed)]
    if not same:
        problems.append(f"the result is not the winner's: {jobs.differs(name, (winners or [1])[0])}")
    return f"the second after {after:.2f} of {seconds:.2f} s", "; ".join(problems)


def filled(jobs: Jobs, name: str, rng: Random, room: Path) -> tuple[str, str]:
    """The disk is full at a random moment: one line, nothing half-written, and the rerun succeeds."""
    jobs.undisturbed(name)
    out = jobs.prepare(name)
    sizes = written(jobs, name)
    out = jobs.prepare(name)
    there = sum(path.stat().st_size + 8192 for path in out.rglob("*"))  # a small disk has whole pages
    mounted = rng.random() < 0.5 and mount(out, there + 8192 + int(rng.random() * sum(sizes)))
    limit = None
    if mounted:
        jobs.place(name, out)
        what = "a full disk"
    else:
        most = int(rng.random() ** 2 * max(sizes))
        what = f"no file above {most} bytes"

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    problems = []
    try:
        before = flat(out)
        code, stdout, err = run(jobs.arguments(name), room, limit)
        problems += problems_of_output(code, stdout, err)
        if code == 2 and "/x" not in err and "--n" not in err:
            problems.append("the line does not name the output")
        left = [key for key in flat(out) if key not in before and ".partial" not in key]
        if code and left and name not in IN_PLACE:
            problems.append(f"left {left[:4]}")
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=1g", str(out)], check=True)
        problems += rerun(jobs, name, room)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(out)], check=True)
    return what, "; ".join(problems)


def written(jobs: Jobs, name: str) -> list[int]:
    """The sizes of the files that the command writes."""
    run(jobs.arguments(name), jobs.room)
    return [path.stat().st_size for path in (jobs.room / "out").rglob("*") if path.is_file()] or [1]


def mount(folder: Path, size: int) -> bool:
    """Make the folder a small disk, if that is permitted here."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
