"""What the shell completes: commands, options, names of plugins and bundles, parameters, choices; without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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
    ("lsampler sample --model ", ["celeba96", "digits"]),
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


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_itself_completes_through_the_installed_script(tmp_path: Path) -> None:
    program = tmp_path / "lsampler"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{RUN}" "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(_LSAMPLER_COMPLETE=source_bash lsampler)"\n'
        "COMP_WORDS=(lsampler compare -p kde -p flow --param kde : ba); COMP_CWORD=9\n"
        '_lsampler_completion lsampler; echo "${COMPREPLY[@]}"\n'
    )
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("bandwidth=none\n", "")
