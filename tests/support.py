"""What several test modules share beside fixtures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Answer(NamedTuple):
    """The exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


def partial_folder(path: Path) -> Path:
    """Where an unfinished store keeps its shards, as docs/store-format.md says."""
    return path.with_name(path.name + ".partial")


def committed_shards(path: Path) -> list[Path]:
    """The committed shards of an unfinished store."""
    return sorted(partial_folder(path).glob("[0-9]*.h5"))


def run_in_one_process(commands: Sequence[Sequence[object]], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run several commands in a process of their own, which imports libraries once and shows all that they print."""
    script = (
        "import json, sys\n"
        "from lsampler.cli import main\n"
        "for arguments in json.load(sys.stdin):\n"
        "    sys.argv = ['lsampler', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
    )
    given = json.dumps([list(map(str, command)) for command in commands])
    return subprocess.run(
        [sys.executable, "-c", script], input=given, capture_output=True, text=True, timeout=300, **options
    )


def wrong_models(rows: Sequence[tuple[object, ...]]) -> pytest.MarkDecorator:
    """Parametrise a test by rows: what is wrong, the model, its parameters, what the one line must say."""
    names = ("model", "parameters", "message")
    return pytest.mark.parametrize(names, [row[1:] for row in rows], ids=[str(row[0]) for row in rows])
