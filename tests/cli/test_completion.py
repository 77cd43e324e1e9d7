"""What the shell completes: commands, options, names of plugins and bundles, parameters, choices; without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUN = "import sys; sys.argv[0] = 'lsampler'; from lsampler.cli import main; main()"
COMPLETES = [
    ("lsampler cl", ["clean"]),
    ("lsampler store i", ["info", "import"]),
    ("lsampler sample --pl", ["--plugin"]),
    ("lsampler sample -p gaussian-", ["gaussian-copula", "gaussian-mixture"]),
    ("lsampler compare -e nov", ["novelty"]),
    ("lsampler sample --model ", ["cancer", "celeba96", "celeba96-sharp", "digits", "heartbeats"]),
    ("lsampler sample -p pca-ellipse --param me", ["method=exact", "method=iteration"]),
    ("lsampler sample -p pca-ellipse --param fact", ["fact=0.7"]),
    ("lsampler sample -p pca-ellipse --param method = it", ["iteration"]),
    ("lsampler sample --param fa", []),
    ("lsampler compare -p flow -p kde --param kde:b", ["kde:bandwidth=none"]),
    ("lsampler compare -p flow -p kde --param kde : b", ["bandwidth=none"]),
    ("lsampler compare -p flow -p kde --param kde : bandwidth = ", ["none"]),
    ("lsampler compare -p flow -e novelty --param novelty:", ["novelty:splits=10"]),
    ("lsampler encode x --model-param trust", ["trusted=true", "trusted=false"]),
    ("lsampler sample --device c", ["cpu", "cuda"]),
    ("lsampler choose --wish ", ["balanced", "varied", "clean"]),
    ("lsampler store export x --split h", ["held-out"]),
    ("lsampler plugins show pair", ["pair-ellipses"]),
    ("lsampler analyze x --section t", ["tsne"]),
    ("lsampler no-such-command --x", []),
]


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What one process, which imports nothing heavy, answers bash to each line, and the modules that it imported."""
    script = (
        "import contextlib, io, json, os, sys\n"
        "from lsampler.cli import main\n"
        "sys.argv[0], answers = 'lsampler', {}\n"
        "for line in json.load(sys.stdin):\n"
        "    words = line.split(' ')\n"
        "    os.environ |= {'_LSAMPLER_COMPLETE': 'complete_bash', 'COMP_WORDS': '\\n'.join(words)}\n"
        "    os.environ['COMP_CWORD'] = str(len(words) - 1)\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as said:\n"
        "        try: main()\n"
        "        except SystemExit: pass\n"
        "    answers[line] = said.getvalue().split()\n"
        "print(json.dumps([answers, list(sys.modules)]))\n"
    )
    given = json.dumps([line for line, _ in COMPLETES])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    said, modules = json.loads(done.stdout)
    return {"answers": said, "modules": set(modules)}


@pytest.mark.parametrize(("line", "expected"), COMPLETES)
def test_the_shell_completes(line: str, expected: list[str], answers: dict[str, Any]) -> None:
    assert answers["answers"][line] == expected


def test_completing_imports_neither_torch_nor_a_plugin(answers: dict[str, Any]) -> None:
    heavy = {"torch", "numpy", "scipy", "sklearn", "h5py", "pluggy", "matplotlib"}
    assert not answers["modules"] & heavy
    assert not [module for module in answers["modules"] if module.startswith("lsampler_plugins")]


@pytest.fixture
def bash(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run a script of bash in which the command is ``lsampler``, in an empty home."""
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    program = tmp_path / "bin" / "lsampler"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{RUN}" "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "HOME": str(tmp_path)}

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", script]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_bash_itself_completes_through_the_installed_script(
    bash: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    installed = bash("lsampler --install-completion; exit $?")
    assert (installed.returncode, installed.stderr) == (0, "")
    assert "bash completion installed" in installed.stdout
    script = tmp_path / ".bash_completions" / "lsampler.sh"
    completed = bash(
        f"source '{script}'\n"
        "COMP_WORDS=(lsampler compare -p kde -p flow --param kde : ba); COMP_CWORD=9\n"
        '_lsampler_completion lsampler; echo "${COMPREPLY[@]}"\n'
    )
    assert (completed.stdout, completed.stderr) == ("bandwidth=none\n", "")
