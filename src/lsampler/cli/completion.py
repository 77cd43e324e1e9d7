"""What the shell completes: names of plugins and bundles, and their parameters, without importing any of them.

Plugins are found by their entry points and read as source: importing them would take seconds, for torch.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

GROUP, ASKED = "lsampler", "_LSAMPLER_COMPLETE"
"""The group of entry points, and the variable in which a shell asks."""
STRATEGY, EVALUATOR, LOADER = "samplers", "evaluators", "autoencoder_loaders"
KINDS = (STRATEGY, "cores", EVALUATOR, LOADER)
DEVICES = ("auto", "cpu", "cuda", "mps")
PACKAGE = Path(__file__).parents[1]
BASES = {
    "ForeignLoader": PACKAGE / "models" / "foreign_loader.py",
    "WhitenedSampler": PACKAGE / "samplers" / "whitened.py",
}
"""The public base classes that have parameters of their own."""
Words = list[tuple[str, str]]
Completer = Callable[[typer.Context, str], Words]


@dataclass(frozen=True)
class Described:
    """A plugin, as its source describes it: its name, summary, and the settings of each parameter, with its meaning."""

    name: str
    summary: str
    parameters: dict[str, tuple[list[str], str]] = field(default_factory=dict)


@functools.cache
def described(kind: str) -> dict[str, Described]:
    """The plugins of a kind, such as ``samplers``, by name; of one that cannot be read there is nothing."""
    found: dict[str, Described] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        for each in _plugins(point, kind):
            found.setdefault(each.name, each)
    return found


def _plugins(point: EntryPoint, kind: str) -> Iterator[Described]:
    hook = f"lsampler_{kind}"
    source = _source(point.module)
    if hook.encode() not in source:  # of most plugins, which are of another kind
        return
    tree = _tree(source)
    classes = _classes(tree)
    for offered in _offered(tree, hook):
        own = classes.get(offered)
        name = own and _constant(_assigned(own, "name"))
        if own and isinstance(name, str):
            yield Described(name, (ast.get_docstring(own) or "").partition("\n")[0], _parameters(own, classes))


def _source(module: str) -> bytes:
    """The source of a module, none of whose packages is imported; empty if there is none."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
        folders = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
        places = [folder.joinpath(*rest) for folder in folders] or [Path(str(spec and spec.origin))]
        files = [file for place in places for file in (place, place.with_suffix(".py"), place / "__init__.py")]
        return next((file.read_bytes() for file in files if file.is_file()), b"")
    except (ImportError, OSError, ValueError):
        return b""


def _tree(source: bytes) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _offered(tree: ast.Module, hook: str) -> Iterator[str]:
    """The classes that a module gives to a hook: by ``hook = offers(...)``, or by a function that returns a list."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id == hook for each in node.targets
        ):
            arguments: Iterable[ast.expr] = node.value.args if isinstance(node.value, ast.Call) else ()
            yield from (each.id for each in arguments if isinstance(each, ast.Name))
        elif isinstance(node, ast.FunctionDef) and node.name == hook:
            yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _parameters(plugin: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, tuple[list[str], str]]:
    """The settings and the meaning of each parameter, those of base classes first."""
    found: dict[str, tuple[list[str], str]] = {}
    for base in plugin.bases:
        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if name in classes:
            found |= _parameters(classes[name], classes)
        elif name in BASES:
            elsewhere = _classes(_tree(BASES[name].read_bytes()))
            found |= _parameters(elsewhere[name], elsewhere)
    for node in plugin.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_parameter(node):
            found[node.target.id] = _settings(node)
    return found


def _is_parameter(node: ast.AnnAssign) -> bool:
    return not ast.unparse(node.annotation).startswith("ClassVar") and not getattr(node.target, "id", "_").startswith(
        "_"
    )


def _settings(node: ast.AnnAssign) -> tuple[list[str], str]:
    """What may be written after ``--param``: the choices of a parameter, or its default."""
    name = getattr(node.target, "id", "")
    keywords = {each.arg: each.value for each in node.value.keywords} if isinstance(node.value, ast.Call) else {}
    meaning = _constant(keywords.get("description"))
    default = _constant(keywords.get("default") if keywords else node.value)
    if isinstance(node.annotation, ast.Subscript) and ast.unparse(node.annotation.value) == "Literal":
        values = [_text(_constant(each)) for each in ast.walk(node.annotation.slice) if isinstance(each, ast.Constant)]
    elif ast.unparse(node.annotation) == "bool":
        values = ["true", "false"]
    else:
        values = [_text(default)]
    return [f"{name}={value}" for value in values], meaning if isinstance(meaning, str) else ""


def _assigned(plugin: ast.ClassDef, name: str) -> ast.expr | None:
    """The value that a class gives to an attribute."""
    for node in plugin.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(each, ast.Name) and each.id == name for each in targets):
                return node.value
    return None


def _constant(node: ast.expr | None) -> Any:
    """A value that is written out; ``...`` for any other."""
    try:
        return ast.literal_eval(node) if node is not None else ...
    except ValueError:
        return ...


def _text(value: Any) -> str:
    """A value as the command line takes it; nothing for one that the source does not say."""
    if value is ... or isinstance(value, tuple | list | dict):
        return ""
    return {"None": "none", "True": "true", "False": "false"}.get(str(value), str(value))


def plugins(*kinds: str) -> Completer:
    """Completes the names of the plugins of these kinds."""

    def complete(ctx: typer.Context, incomplete: str) -> Words:
        return _that_start(
            [(each.name, each.summary) for kind in kinds for each in described(kind).values()], incomplete
        )

    return complete


def words(*choices: str) -> Completer:
    """Completes one of a few words."""

    def complete(ctx: typer.Context, incomplete: str) -> Words:
        return _that_start([(choice, "") for choice in choices], incomplete)

    return complete


def bundles(ctx: typer.Context, incomplete: str) -> Words:
    """Completes the names of the bundles that come with lsampler; a shell completes files by itself."""
    folder = PACKAGE / "bundles"
    names = sorted(path.stem for path in folder.glob("*.safetensors"))
    return _that_start([(name, "a bundle") for name in names], incomplete)


def parameters(ctx: typer.Context, incomplete: str) -> Words:
    """Completes ``KEY=VALUE`` of the one strategy that is named before, or ``NAME:KEY=VALUE`` of each of several."""
    chosen = ctx.params.get("plugin") or []
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    scores = list(ctx.params.get("evaluator") or [])
    known = described(STRATEGY) | described(EVALUATOR)
    if not names and not scores:
        return []
    settings = []
    for name in [*names, *scores]:
        start = "" if names == [name] else f"{name}:"
        if name in known:
            settings += [
                (start + text, meaning) for texts, meaning in known[name].parameters.values() for text in texts
            ]
    return _that_start(settings, incomplete)


def loader_parameters(ctx: typer.Context, incomplete: str) -> Words:
    """Completes ``KEY=VALUE`` of any loader of autoencoders."""
    every = {
        text: meaning
        for each in described(LOADER).values()
        for texts, meaning in each.parameters.values()
        for text in texts
    }
    return _that_start(list(every.items()), incomplete)


def _that_start(choices: Words, incomplete: str) -> Words:
    return [(choice, meaning) for choice, meaning in choices if choice.startswith(incomplete)]


def answer_shell(run: Callable[[], Any]) -> None:
    """Print what the shell asks for, and never an error, which would stand in the line that the user types.

    Bash divides a word at every ``:`` and ``=``, and replaces only the last part: the parts are joined for typer, and
    what stands before the last part is removed from the answer.
    """
    before = ""
    if os.environ.get(ASKED) == "complete_bash":
        parts = os.environ.get("COMP_WORDS", "").split("\n")[: int(os.environ.get("COMP_CWORD") or 0) + 1]
        words = _joined(parts)
        os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
        value = words[-1].partition("=")[2] if words[-1].startswith("--") else words[-1]
        before = value.removesuffix(parts[-1] if parts[-1].strip(":=") else "")
    answer, code = io.StringIO(), 1
    with contextlib.redirect_stdout(answer), contextlib.suppress(Exception):
        try:
            run()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    sys.stdout.write("".join(line.removeprefix(before) for line in answer.getvalue().splitlines(keepends=True)))
    sys.stdout.flush()
    sys.exit(code)


def _joined(parts: Iterable[str]) -> list[str]:
    """Words whose parts bash divided at ``:`` and ``=``."""
    words: list[str] = []
    for part in parts:
        follows = words and (words[-1].endswith((":", "=")) or (part and not part.strip(":=")))
        words = [*words[:-1], words[-1] + part] if follows else [*words, part]
    return words
