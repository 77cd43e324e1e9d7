"""A command imports what it uses and no more; all commands are listed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from support import Answer
from typer.main import get_command

from lsampler import cli as command_line
from lsampler.cli import COMMANDS, app

RUN = "from lsampler.cli import main; main()"
HEAVY = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "h5py", "PIL", "lightning", "dask"}
GROUP: Any = get_command(app)
COMMAND = {name: GROUP.resolve_command(typer.Context(GROUP), [name])[1] for name in COMMANDS}
Cli = Callable[..., Answer]


def imported(code: str, *arguments: object) -> set[str]:
    """The modules of a new process after ``code``, which ends well."""
    script = (
        "import json, sys\n"
        f"try: {code}\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print('', json.dumps(list(sys.modules)), sep='\\n')"
    )
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_alone_imports_nothing_heavy() -> None:
    modules = imported("import lsampler")
    assert "lsampler" in modules
    assert not modules & (HEAVY | {"typer", "rich", "pydantic", "pluggy"})


def test_a_version_needs_no_rich(cli: Cli) -> None:
    assert not imported(RUN, "--version") & (HEAVY | {"rich", "pydantic"})
    assert cli("--version").out.split()[0] == "lsampler"


@pytest.mark.parametrize("arguments", [("--help",), ("sample", "--help"), ("store", "--help"), ("evaluate", "--help")])
def test_help_imports_what_prints_it_and_nothing_heavy(arguments: tuple[str, ...]) -> None:
    modules = imported(RUN, *arguments)
    assert "rich.panel" in modules
    assert not modules & HEAVY
    ours = {module.rpartition(".")[2] for module in modules if module.startswith("lsampler.cli.")}
    assert ours - {"strategies", "conditions", "label"} == {
        "common",
        "completion",
        "help",
        "messages",
        "values",
        *arguments,
    } - {"--help"}


def test_faces_of_the_bundle_import_what_draws_and_decodes_them(tmp_path: Path) -> None:
    arguments = ("sample", "--plugin", "pca-ellipse", "--n", 4, "--out", tmp_path / "faces.png")
    modules = imported(RUN, *arguments)
    assert (tmp_path / "faces.png").is_file()
    assert "torch" in modules
    assert not modules & (HEAVY - {"torch", "numpy", "h5py", "PIL"})
    # torch's compiler takes as long as torch: it comes with some operations on the device "meta".
    assert not modules & {"torch._dynamo", "torch._inductor", "torch.onnx", "torchvision"}
    plugins = {module for module in modules if module.startswith("lsampler_plugins.")}
    assert plugins == {"lsampler_plugins.samplers", "lsampler_plugins.samplers.pca_ellipse"}


def test_the_plugins_are_listed_without_what_only_their_work_needs() -> None:
    modules = imported(RUN, "plugins")
    assert "lsampler_plugins.evaluators.two_sample" in modules
    absent = HEAVY - {"torch", "numpy", "h5py", "PIL"} | {"keras", "onnx", "onnxruntime", "diffusers", "pythae", "zuko"}
    assert not modules & (absent | {"torch._dynamo"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_repeats_the_summary_in_the_help_of_the_command(name: str) -> None:
    assert (COMMAND[name].name, COMMAND[name].help.split("\n\n")[0]) == (name, COMMANDS[name][2])


def test_no_command_is_missing_from_the_list(cli: Cli) -> None:
    files = {path.stem: path.read_text() for path in Path(command_line.__file__).parent.glob("*.py")}
    sources = {name: text for name, text in files.items() if name != "__init__" and "app = typer.Typer(" in text}
    assert set(sources) == {module for module, *_ in COMMANDS.values()}
    registered = sum(1 if "\n    name=" in text else text.count("@app.command(") for text in sources.values())
    assert registered == len(COMMANDS)
    lines = cli("--help").out.split(f"╭─ {COMMANDS['sample'][1]} ")[1].splitlines()
    names = [line[2:].split(" ")[0] for line in lines if line.startswith("│ ") and line[2] != " "]
    assert names == list(COMMANDS)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("evalute",), "'evalute'. Did you mean 'evaluate'?"),
        (("xyz",), "'xyz'."),
        (("store", "imprt"), "'imprt'. Did you mean 'import'?"),
    ],
)
def test_an_unknown_command_is_refused_in_one_line(words: tuple[str, ...], problem: str, cli: Cli) -> None:
    assert cli(*words) == Answer(2, "", f"lsampler: No such command {problem}\n")
