"""The rules of the house: sizes, docstrings, directions of imports, and plain English."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CLI = ROOT / "src" / "lsampler" / "cli"
SOURCES = sorted(path for folder in ("src", "plugins") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

MOST_LINES, MOST_LINES_OF_FUNCTIONS, MOST_ARGUMENTS = 400, 50, 7
PACKAGE = ROOT / "src" / "lsampler"
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))
ROOMS = {f"lsampler.{stub.parent.name}" for stub in STUBS if stub.parent != PACKAGE}
PUBLIC_MODULES = {
    "lsampler",
    "lsampler.choosing",
    "lsampler.cli",
    "lsampler.errors",
    "lsampler.extras",
    "lsampler.testing",
}
"""What users import besides the rooms: the package, modules that its pages name, the kit, and the command line."""
NAMED_MODULES = {
    ".".join(["lsampler", *stub.parent.relative_to(PACKAGE).parts]) + module
    for stub in STUBS
    for module in re.findall(r"^from (\.[\w.]+) import", stub.read_text(), flags=re.MULTILINE)
}
"""The modules where public names are defined."""
DIALECT = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\breckon(s|ed|ing)?\b": "estimate, or compute",
    r"\bwork(s|ed|ing)? off\b": "run",
    r"\bof anybody\b|\banybody's\b|\bif anybody looks\b": "of a user, of another plugin, if a progress bar was passed",
    r"\bwhat comes out\b": "the result",
    r"\b(told|tells) of\b": "reported, describes",
    r"\ba line an? \w+|\b(images|rows|vectors|lines) a (second|minute)\b": "one line per ..., ... per second",
    r"\bthe same command goes on\b": "rerun it to resume",
    r"\binflates? like a bomb\b": "zip bomb",
    r"\b(wherefrom|whereof|hitherto|whilst)\b": "everyday words",
    r"\A[^.]{0,40}\blikewise\W*\Z": "say what it means",
    r"\ASee :\w+:`[^`]*`\W*\Z": "say what it means",
}

Violations = Iterator[tuple[Path, int, str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[Function, bool]]:
    """Every function of a file, and whether it is a method."""
    tree = ast.parse(path.read_text())
    methods = {id(node) for cls in ast.walk(tree) if isinstance(cls, ast.ClassDef) for node in cls.body}
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node, id(node) in methods


def files_are_short() -> Violations:
    for path in [*SOURCES, *TESTS]:
        lines = len(path.read_text().splitlines())
        if lines > MOST_LINES:
            yield path, 1, f"{lines} lines, at most {MOST_LINES}; split it by subject"


def functions_are_short() -> Violations:
    for path in [*SOURCES, *TESTS]:
        for function, _ in functions(path):
            first = function.body[0]
            has_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            start = function.body[1].lineno if has_text and len(function.body) > 1 else first.lineno
            lines = (function.end_lineno or 0) - start + 1
            if lines > MOST_LINES_OF_FUNCTIONS:
                yield path, function.lineno, f"{function.name}() has {lines} lines, at most {MOST_LINES_OF_FUNCTIONS}"


def functions_take_few_arguments() -> Violations:
    for path in SOURCES:
        for function, is_method in functions(path) if CLI not in path.parents else ():
            arguments = function.args
            static = any(getattr(one, "id", "") == "staticmethod" for one in function.decorator_list)
            count = len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]) - (is_method and not static)
            if count > MOST_ARGUMENTS:
                yield path, function.lineno, f"{function.name}() takes {count} arguments, at most {MOST_ARGUMENTS}"


def modules_say_what_they_hold() -> Violations:
    for path in SOURCES:
        if not ast.get_docstring(ast.parse(path.read_text())):
            yield path, 1, "no docstring; its first line says what the module holds"


def imported(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, module and names of every import of a file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module, [alias.name for alias in node.names]


def only_the_command_line_knows_typer() -> Violations:
    for path in SOURCES:
        for line, module, _ in imported(path) if CLI not in path.parents else ():
            if module.split(".")[0] in ("typer", "click"):
                yield path, line, f"imports {module}; only lsampler.cli may"


def public_names(module: str) -> set[str]:
    """What users may import of a module of lsampler; nothing of a module that is not public."""
    if module in PUBLIC_MODULES | ROOMS:
        found = importlib.import_module(module)
        return set(getattr(found, "__all__", [name for name in vars(found) if not name.startswith("_")]))
    return set()


def plugins_import_only_public_names() -> Violations:
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        for line, module, names in imported(path):
            private = [name for name in names if name not in public_names(module)]
            if module.split(".")[0] == "lsampler" and private:
                yield path, line, f"imports {module} {' '.join(private)}; plugins import public names of lsampler only"


def private_modules_stay_out_of_tests() -> Violations:
    for path in (path for path in TESTS if "internals" not in path.parts):
        for line, module, names in imported(path):
            if not module.startswith("lsampler"):
                continue
            inside = {f"{module}.{name}" for name in names} | {module}  # a name may be a module
            modules = {name for name in inside if (ROOT / "src" / f"{name.replace('.', '/')}.py").is_file()}
            private = [name for name in names if name.startswith("_")] + sorted(
                modules - PUBLIC_MODULES - NAMED_MODULES
            )
            if private:
                yield (
                    path,
                    line,
                    f"imports {' '.join(private)}; use public names, or move it to tests/internals",
                )


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file that people read: lines of a page; docstrings, comments and messages of a module."""
    if path.suffix == ".md":
        yield from enumerate(
            re.sub(
                r"```.*?```", lambda code: "\n" * code[0].count("\n"), path.read_text(), flags=re.DOTALL
            ).splitlines(),
            1,
        )
        return
    source = path.read_text()
    yield from ((number, line.split("#", 1)[1]) for number, line in enumerate(source.splitlines(), 1) if "# " in line)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def texts_are_plain_english() -> Violations:
    for path in [*SOURCES, *PAGES]:
        for line, text in texts(path):
            for words, better in DIALECT.items():
                if found := re.search(words, text, flags=re.IGNORECASE):
                    yield path, line, f"'{found[0]}'; write: {better}"


@pytest.mark.parametrize(
    "rule",
    [
        files_are_short,
        functions_are_short,
        functions_take_few_arguments,
        modules_say_what_they_hold,
        only_the_command_line_knows_typer,
        plugins_import_only_public_names,
        private_modules_stay_out_of_tests,
        texts_are_plain_english,
    ],
    ids=lambda rule: rule.__name__.replace("_", "-"),
)
def test_the_house_keeps_its_rules(rule: Callable[[], Any]) -> None:
    found = [f"{path.relative_to(ROOT)}:{line}: {problem}" for path, line, problem in rule()]
    if found:
        pytest.fail(f"{len(found)} violations\n" + "\n".join(found), pytrace=False)
