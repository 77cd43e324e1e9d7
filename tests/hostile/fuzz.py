"""Hostile inputs, kills, races and full disks at length: ``make fuzz``.

Prints a table of what was tried, and for everything that failed the command that repeats it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile import judging, kills
from hostile.kinds import FOREIGN_KINDS, KINDS, case_of, make_foreign, make_sound
from hostile.programs import PROGRAMS

VERDICTS = ("refused", "accepted", "failed")


class Tried(NamedTuple):
    """What was tried, and how it ended: ``refused``, ``accepted`` or ``failed``."""

    kind: str
    seed: int
    verdict: str
    what: str
    said: str


def killing(asked: argparse.Namespace, base: Path, room: Path) -> Iterator[Tried]:
    """Kills, races and full disks, over every command that writes."""
    jobs = kills.Jobs(base, room)
    acts = {
        "kill": lambda name, rng: kills.killed(jobs, name, rng, room, base),
        "race": lambda name, rng: kills.raced(jobs, name, rng, room),
        "full disk": lambda name, rng: kills.filled(jobs, name, rng, room),
    }
    names = [name for name in kills.JOBS if not asked.kinds or name in asked.kinds]
    for number in range(asked.kills):
        name, seed = names[number % len(names)], asked.seed + number // len(names)
        for act, times in (("kill", 1), ("race", seed % 4 == 0), ("full disk", seed % 4 == 1)):
            if times and (not asked.acts or act in asked.acts):
                what, problem = acts[act](name, random.Random(f"{act} {name} {seed}"))
                yield Tried(f"{act}: {name}", seed, "failed" if problem else "accepted", what, problem)


def hostile(asked: argparse.Namespace, base: Path, room: Path) -> Iterator[Tried]:
    """Mutated files, over every kind of input."""
    kinds = [kind for kind in (*KINDS, *FOREIGN_KINDS, *PROGRAMS) if not asked.kinds or kind in asked.kinds]
    for number in range(asked.files if kinds else 0):
        kind, seed = kinds[number % len(kinds)], asked.seed + number // len(kinds)
        build, rng = case_of(kind, seed)
        yield Tried(kind, seed, *judging.attempt(build, rng, base, room / f"{seed}"))


def serve(base: Path, room: Path) -> int:
    """Answer every line, a kind and a seed, with how the input ended."""
    judging.made(base, make_sound)
    for line in sys.stdin:
        kind, seed = json.loads(line)
        build, rng = case_of(kind, seed)
        print(json.dumps(judging.attempt(build, rng, base, room / f"{seed}")), flush=True)
    return 0


def main() -> int:
    """Try hostile inputs, kills, races and full disks, and print what failed and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=0, help="mutated inputs")
    parser.add_argument(
        "--kills", type=int, default=0, help="kills of commands; races and full disks are a quarter of it"
    )
    parser.add_argument("--kinds", nargs="*", default=[], help="only these kinds of input, or commands to kill")
    parser.add_argument("--acts", nargs="*", default=[], help="only kill, race or full disk")
    parser.add_argument("--seed", type=int, default=0, help="of the first input of every kind")
    parser.add_argument("--serve", action="store_true", help="try the kind and seed on every line of standard input")
    parser.add_argument("--show", action="store_true", help="print what every command said, not only what failed")
    parser.add_argument("--failures", type=Path, help="also write what failed to this JSON file")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", message="Duplicate name", module="zipfile")
    judging.import_all(*judging.HEAVY.split(), *([] if asked.serve else judging.FOREIGN.split()))
    counts: Counter[tuple[str, str]] = Counter()
    failures = []
    told = time.monotonic()
    place = tempfile.mkdtemp(prefix="hostile-")  # a TemporaryDirectory would be removed as a forked process ends
    try:
        base, room = Path(place) / "base", Path(place) / "room"
        base.mkdir()
        if asked.serve:
            return serve(base, room)
        judging.made(base, make_sound, make_foreign, *([kills.make_sound] if asked.kills else []))
        for number, tried in enumerate(chain(hostile(asked, base, room), killing(asked, base, room)), 1):
            counts[tried.kind, tried.verdict] += 1
            failures += [tried] * (tried.verdict == "failed")
            if asked.show or tried.verdict == "failed":
                print(f"{tried.kind} --seed {tried.seed}: {tried.verdict}: {tried.what}\n    {tried.said}", flush=True)
            if time.monotonic() > told + 60:
                told = time.monotonic()
                print(f"{number} tried, {len(failures)} failed", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        print_table(counts)
    if asked.failures:
        asked.failures.write_text(json.dumps([tried._asdict() for tried in failures], indent=1))
    return int(bool(failures))


def print_table(counts: Counter[tuple[str, str]]) -> None:
    """The table of docs/reliability.md."""
    print("\n| kind | tried | refused properly | accepted properly | failed |\n|---|---|---|---|---|")
    kinds = list(dict.fromkeys(kind for kind, _ in counts))
    for kind in [*kinds, "all"]:
        row = [sum(counts[one, verdict] for one in (kinds if kind == "all" else [kind])) for verdict in VERDICTS]
        print(f"| {kind} | {sum(row)} | {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    sys.exit(main())
