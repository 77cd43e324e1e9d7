"""The base class of all plugins: a name, a summary, and typed, validated, documented parameters."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

import annotated_types
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lsampler.errors import LsamplerError, nearest_name

__all__ = ["ENTRY_POINTS", "Parameter", "Plugin", "code_digest"]

ENTRY_POINTS = "lsampler"
"""The entry-point group that plugin packages register their modules in."""


@dataclass(frozen=True)
class Parameter:
    """One parameter, as ``lsampler plugins show`` prints it."""

    name: str
    type: str
    default: str
    range: str
    meaning: str


class Plugin(BaseModel):
    """A pydantic model whose fields are the plugin's parameters.

    Subclasses set :attr:`name` and declare their parameters as fields with a description. The
    first line of their docstring is the summary that ``lsampler plugins`` prints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    """The plugin's name on the command line, in lower case with hyphens."""

    def __init__(self, **parameters: Any) -> None:
        try:
            super().__init__(**parameters)
        except ValidationError as error:
            raise LsamplerError(self._explain(error)) from None

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").split("\n", 1)[0]

    @classmethod
    def from_strings(cls, settings: Mapping[str, str]) -> Self:
        """Build the plugin from ``key=value`` strings, as the command line gives them.

        A text is read by the type of its parameter: ``none`` as no value and ``[1, 2]`` as a list only where the
        parameter accepts them.
        """
        return cls(**{key: _from_string(text, cls.model_fields.get(key)) for key, text in settings.items()})

    @classmethod
    def parameters(cls) -> list[Parameter]:
        """Name, type, default, range and meaning of every parameter."""
        return [
            Parameter(
                name=name,
                type=_type_name(field.annotation),
                default=_plain(field.get_default()) if not field.is_required() else "(required)",
                range=_range(field),
                meaning=field.description or "",
            )
            for name, field in cls.model_fields.items()
        ]

    def settings(self) -> dict[str, Any]:
        """All parameters as plain values, defaults included."""
        return self.model_dump(mode="json")

    def settings_json(self) -> str:
        """All parameters as JSON with sorted keys: equal text means equal settings."""
        return json.dumps(self.settings(), sort_keys=True)

    def key(self) -> str:
        """Name and all parameters as one text, defaults included: a changed default is another key."""
        return f"{self.name} {self.settings_json()}"

    def digest(self) -> str:
        """A digest of the name, the parameters and the code: results kept under it are those of this code.

        It follows :func:`code_digest`, and the digests of :meth:`depends_on`.
        """
        return _digest(self.key(), code_digest(type(self)), *self.depends_on())

    def depends_on(self) -> Sequence[str]:
        """Digests of what results depend on besides parameters and code: other plugins, or files that are read."""
        return ()

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            return f"{cls.name}: no parameter '{key}'{nearest_name(key, cls.model_fields)}"
        if not key:
            return f"{cls.name}: {first['msg'].removeprefix('Value error, ')}"
        field = cls.model_fields[key]
        allowed = _range(field)
        within = f", {allowed}" if allowed else ""
        return f"{cls.name}: {key}={first['input']} is not valid: give {_type_name(field.annotation)}{within}"


@functools.cache
def code_digest(plugin: type[Plugin]) -> str:
    """A digest of a plugin class's code, and of the version of the package that it comes from.

    The code is the source of the modules of the class and of its base classes outside lsampler, and of the modules
    that these import from their own package. Where there is no source, as in an interactive session, the digest is
    that of this process alone, so that no other process uses what is kept under it.
    """
    sources: dict[str, str] = {}
    for base in plugin.__mro__:
        name = base.__module__
        if base not in Plugin.__mro__ and not _is_within(name, "lsampler"):
            _gather(name, name.partition(".")[0], sources)
            sources.setdefault(name, _live_source(base))
    packages = {name.partition(".")[0] for name in sources}
    origins = {
        f"{point.dist.name} {point.dist.version}"
        for point in entry_points(group=ENTRY_POINTS)
        if point.dist and point.module.partition(".")[0] in packages
    }
    return _digest(plugin.__qualname__, *sorted(origins), *(sources[name] for name in sorted(sources)))


def _gather(name: str, package: str, found: dict[str, str]) -> None:
    """Add the source of a module of a package, and of those that it imports from the same package."""
    if name in found or not _is_within(name, package):
        return
    try:
        spec = importlib.util.find_spec(name)
        source = Path(str(spec and spec.origin)).read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (ImportError, ValueError, OSError, SyntaxError):  # no module, or one without a file of Python code
        return
    found[name] = source
    inside = name if spec and spec.submodule_search_locations else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                _gather(alias.name, package, found)
        elif isinstance(node, ast.ImportFrom):
            start = importlib.util.resolve_name("." * node.level + (node.module or ""), inside)
            for imported in (start, *(f"{start}.{alias.name}" for alias in node.names)):
                _gather(imported, package, found)


def _live_source(plugin: type) -> str:
    for item in (sys.modules.get(plugin.__module__), plugin):
        try:
            return inspect.getsource(item)  # type: ignore[arg-type]
        except (OSError, TypeError):
            continue
    return uuid.uuid4().hex


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _digest(*texts: str) -> str:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).hexdigest()


def _from_string(text: str, field: FieldInfo | None) -> Any:
    """The first reading that the parameter accepts: no value, JSON, or the text itself."""
    if field is None:
        return text
    readings: list[Any] = [None] if text.lower() in ("none", "null") else []
    with contextlib.suppress(json.JSONDecodeError):
        readings.append(json.loads(text))
    accepts: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    for reading in readings:
        with contextlib.suppress(ValidationError):
            accepts.validate_python(reading)
            return reading
    return text


def _type_name(annotation: Any) -> str:
    options = get_args(annotation)
    if not options:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        return names.get(annotation, getattr(annotation, "__name__", str(annotation)))
    if type(None) in options:
        rest = [option for option in options if option is not type(None)]
        return " or ".join([*(_type_name(option) for option in rest), "none"])
    if getattr(annotation, "__origin__", None) in (tuple, list):
        return "a list such as " + json.dumps([1, 2])
    return " or ".join(_plain(option) if isinstance(option, str) else _type_name(option) for option in options)


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, (list, tuple)) else str(value)


def _range(field: FieldInfo) -> str:
    words = {"Gt": "above", "Ge": "at least", "Lt": "below", "Le": "at most"}
    parts = []
    for rule in field.metadata:
        bounds = list(rule) if isinstance(rule, annotated_types.GroupedMetadata) else [rule]
        for bound in bounds:
            word = words.get(type(bound).__name__)
            if word:
                parts.append(f"{word} {getattr(bound, type(bound).__name__.lower())}")
    return " and ".join(parts)
