"""Hostile inputs, in short: any of them is refused in one line or gives a right result. ``make fuzz`` tries more.

A process of its own runs the commands, each in a fork with limits of time and memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.kinds import KINDS
from hostile.programs import PROGRAMS
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and limits of memory")
EXAMPLES = 4


@pytest.fixture(scope="module")
def fuzz() -> Iterator[Any]:
    """The process that tries one input for each line it is given."""
    command = [sys.executable, Path(__file__).with_name("fuzz.py"), "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


@pytest.mark.parametrize("kind", [*KINDS, *PROGRAMS])
def test_a_hostile_input_is_refused_in_one_line_or_read_rightly(kind: str, fuzz: Any) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
    @given(seed=st.integers(0, 9999))
    def tried(seed: int) -> None:
        fuzz.stdin.write(json.dumps([kind, seed]) + "\n")
        fuzz.stdin.flush()
        verdict, what, problem = json.loads(fuzz.stdout.readline())
        assert verdict in ("refused", "accepted"), (
            f"{what}\n{problem}\npython {fuzz.args[1]} --kinds '{kind}' --seed {seed} --files 1"
        )

    tried()
