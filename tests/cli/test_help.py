"""The help of every command: panels, readable types, a width of 80 columns, and examples that work as they are."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from support import Answer
from typer.main import get_command

from lsampler.cli import COMMANDS, app

Cli = Callable[..., Answer]
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUP: Any = get_command(app)
COMMAND = {name: GROUP.resolve_command(typer.Context(GROUP), [name])[1] for name in COMMANDS}
INNER = {
    (name, inner): command for name in COMMANDS for inner, command in getattr(COMMAND[name], "commands", {}).items()
}
EVERY: dict[tuple[str, ...], Any] = {(): GROUP, **{(name,): command for name, command in COMMAND.items()}, **INNER}
EXAMPLES = {words: command.epilog.splitlines() for words, command in EVERY.items()}
SLOW = re.compile(
    r"--cluster|--all|--quick|-p (flow|kde)|plugin (flow|auto)|--wish|(flow|chosen)\.safetensors|"
    r"--sweep|^lsampler (train|analyze)|--model run/|--out (faces|more|vectors|pictures)(\.png|\.npy|)$"
)
"""Parts of examples that take more than a second, or a model that such a one makes; these are parsed only."""
MADE = "lsampler example --out digits"


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("words", EVERY, ids=lambda words: " ".join(words) or "lsampler")
def test_help_is_readable(words: tuple[str, ...], columns: int, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    answer = cli(*words, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "".join(["Usage: lsampler", *(f" {word}" for word in words)]) in answer.out
    assert "--help  -h" in " ".join(answer.out.split()).replace("--help -h", "--help  -h")
    panels, examples = answer.out.split(" Examples\n")
    assert "╭─ " in panels
    assert not re.search(r"<\w|x<=|int range|…", panels)
    assert max(map(len, answer.out.splitlines())) <= columns
    pasted = [shlex.split(line) for line in examples.replace("\\\n", " ").strip().splitlines()]
    assert pasted == [shlex.split(line) for line in EXAMPLES[words]]
    assert all(line[0] == "lsampler" for line in pasted)
    assert cli(*words, "-h") == answer


def test_every_command_has_an_example_of_itself() -> None:
    for words, lines in EXAMPLES.items():
        assert any(line.startswith(" ".join(["lsampler", *words])) for line in lines), words


def test_shared_options_say_the_same_everywhere() -> None:
    """``--out`` and ``--n`` differ in what they mean, the others do not."""
    said: dict[str, set[str]] = {}
    for command in EVERY.values():
        for each in command.params:
            for name in set(each.opts) & {"--device", "--force", "--cluster", "--json", "--param", "--seed"}:
                said.setdefault(name, set()).add(f"{each.metavar} {each.help} {each.rich_help_panel}")
            assert "--out" not in each.opts or "-o" in each.opts
    assert {name: len(texts) for name, texts in said.items()} == dict.fromkeys(said, 1)
    assert len(said) == 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folder of the example, once it was made."""
    return [tmp_path_factory.mktemp("made") / "digits"]


@pytest.mark.parametrize("words", EXAMPLES, ids=lambda words: " ".join(words) or "lsampler")
def test_examples_work_in_their_order_in_an_empty_folder(
    words: tuple[str, ...], made: list[Path], ok: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in EXAMPLES[words]:
        if line == MADE and made[0].exists():
            shutil.copytree(made[0], "digits")
        elif not SLOW.search(line):
            ok(*shlex.split(line)[1:])
        if line == MADE and not made[0].exists():
            shutil.copytree("digits", made[0])


def commands_of(page: Path) -> list[str]:
    """The commands in the code blocks of a page."""
    text = re.sub(r"\\\n\s*", "", page.read_text())
    blocks = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```|^(?:    .*\n)+", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (?:\$ )?(lsampler .*)$", text, flags=re.MULTILINE)
    fenced = re.findall(r"^(?:\$ )?(lsampler .*)$", "\n".join(blocks), flags=re.MULTILINE)
    lines = [re.split(r"\s+#|\s+&&|\s+\|", line)[0] for line in [*indented, *fenced]]
    return [line for line in lines if "--install-completion" not in line]  # which would change the shell


SHOWN = [(page, line) for page in PAGES for line in commands_of(page)]


@pytest.mark.parametrize(
    "line",
    [*dict.fromkeys([line for lines in EXAMPLES.values() for line in lines] + [line for _, line in SHOWN])],
)
def test_commands_of_help_and_documents_can_be_parsed(
    line: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lsampler.cli.messages.Command.invoke", lambda command, ctx: None)
    answer = cli(*shlex.split(line)[1:])
    assert answer.code == 0, answer.err


def test_the_documents_show_commands() -> None:
    assert len(SHOWN) > 40
