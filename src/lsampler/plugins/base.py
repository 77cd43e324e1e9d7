"""The base class of all plugins: a name, a summary, and typed, validated, documented parameters."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias, TypeVar

import numpy as np
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lsampler.errors import LsamplerError, nearest_name, plugin_errors, shortened
from lsampler.lookups import find_plugin
from lsampler.showing import About, cell, if_possible, paragraph, table

ENTRY_POINTS = "lsampler"
"""The entry-point group that plugin packages register their modules in."""
TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list such as [1, 2]",
    "null": "none",
}
BOUNDS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
"""What JSON schemas call types and bounds, and what users read."""
PYDANTIC = frozenset(dir(BaseModel)) - frozenset(dir(object))
GIVEN = "_given"
"""Numbers as they were given, where a parameter holds them as another type."""
Kind = TypeVar("Kind", bound="Plugin")
PluginLike: TypeAlias = "str | type[Kind] | Kind"


@dataclass(frozen=True)
class Parameter:
    """One parameter, as ``lsampler plugins show`` prints it."""

    name: str
    type: str
    default: str
    range: str
    meaning: str


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class PluginType(ModelMetaclass):
    """The type of plugin classes, which lists what is meant for users."""

    def __dir__(cls) -> list[str]:  # noqa: N805
        """The names of lsampler and of the plugin, without those of pydantic."""
        return _own_names(cls, super().__dir__())


def _own_names(plugin: type[Any], names: Iterable[str]) -> list[str]:
    """Names of a plugin without private ones, and without those of pydantic that it does not define itself."""
    classes = [base for base in plugin.__mro__ if isinstance(base, PluginType)]
    defined = {name for base in classes for name in vars(base)} | set(plugin.model_fields)
    hidden = {name for name in PYDANTIC if name.startswith("model_") or name not in defined}
    public = {name for name in names if not name.startswith("_") and name not in hidden}
    return sorted(public | set(dir(object)))


class Plugin(BaseModel, metaclass=PluginType):
    """A pydantic model whose fields are the plugin's parameters.

    Subclasses set :attr:`name` and declare their parameters as fields with a description. The
    first line of their docstring is the summary that ``lsampler plugins`` prints.

    Parameters are read and changed as those of scikit-learn's estimators: :meth:`get_params`, :meth:`set_params`,
    ``sklearn.base.clone``. The methods of pydantic are there, but not listed by ``dir``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    """The plugin's name on the command line, in lower case with hyphens."""

    def __init__(self, **parameters: Any) -> None:
        plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in parameters.items()}
        with plugin_errors(f"{self.name}: reading its parameters"):
            try:
                super().__init__(**plain)
            except ValidationError as error:
                raise self._explained(error) from None
        given = {key: value for key, value in parameters.items() if _is_same_number(value, self.__dict__.get(key))}
        if given:
            self.__dict__[GIVEN] = given

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            if name in type(self).model_fields and self.model_config.get("frozen"):
                raise LsamplerError(
                    f"{self.name}: `{name}` cannot be assigned to, since what was fitted would no longer match it; "
                    f"call set_params({name}=...), and fit again"
                )
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if name.startswith("_") and name in self.__dict__:  # a mark of a pipeline
                object.__delattr__(self, name)
            else:
                super().__delattr__(name)

    def __dir__(self) -> list[str]:
        """The parameters, methods and attributes that are meant for users."""
        return _own_names(type(self), super().__dir__())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name, defaults included, as scikit-learn reads them.

        Args:
            deep: changes nothing: no parameter is a plugin.
        """
        given = self.__dict__.get(GIVEN, {})
        return {name: given.get(name, getattr(self, name)) for name in type(self).model_fields}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; returns self.

        If the values differ from those before, whatever was fitted, prepared or opened is forgotten, because it
        belongs to the old ones: call ``fit`` again. After an error nothing is changed.

        Raises:
            LsamplerError: a parameter that is unknown, of the wrong type or out of range.
        """
        before = {name: value for name, value in self.get_params().items() if name in self.model_fields_set}
        changed = type(self)(**{**before, **params})
        if self.key() != changed.key():
            object.__setattr__(self, "__pydantic_private__", changed.__pydantic_private__)
        object.__setattr__(self, "__dict__", changed.__dict__)
        object.__setattr__(self, "__pydantic_fields_set__", changed.__pydantic_fields_set__)
        return self

    def __sklearn_clone__(self) -> Self:
        return type(self)(**{name: value for name, value in self.get_params().items() if name in self.model_fields_set})

    def __repr__(self) -> str:
        return self._about().text

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return self._about().html(*if_possible(self._table))

    def _table(self) -> Markup:
        """The summary, and all parameters with those in bold that differ from their defaults."""
        own, changed = self.settings(), self.model_dump(exclude_defaults=True)
        rows = []
        for each in self.parameters():
            value = _short(own[each.name])
            shown = Markup("<b>{}</b>").format(value) if each.name in changed else value
            rows.append([cell(each.name, css="text"), cell(shown), cell(each.default), cell(each.meaning, css="text")])
        heads = ["parameter", cell("value", tag="th"), cell("default", tag="th"), "meaning"]
        return paragraph(self.summary()) + (table(heads, rows) if rows else Markup())

    def _about(self) -> About:
        """What it says of itself: the parameters that differ from their defaults, and what a subclass adds."""
        changed = self.model_dump(mode="json", exclude_defaults=True)
        settings = [f"{key} = {_short(value)}" for key, value in changed.items()]
        return About(type(self).__name__, getattr(self, "name", ""), [*settings, *self._condition()])

    def _condition(self) -> Sequence[str]:
        """What has become of it, such as what it was fitted to, a few words each."""
        return ()

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "" if isinstance(cls.__doc__, str) else "").split("\n", 1)[0]

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
        with plugin_errors(f"{cls.name}: describing its parameters"):
            described = cls.model_json_schema().get("properties", {})
        return [
            Parameter(
                name=name,
                type=_type(schema),
                default=_plain(schema["default"]) if "default" in schema else "(required)",
                range=_range(schema),
                meaning=schema.get("description", ""),
            )
            for name, schema in described.items()
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
        with plugin_errors(f"{self.name}: its digest"):
            return _digest(self.key(), code_digest(type(self)), *self.depends_on())

    def depends_on(self) -> Sequence[str]:
        """Digests of what results depend on besides parameters and code: other plugins, or files that are read."""
        return ()

    @classmethod
    def _explained(cls, error: ValidationError) -> LsamplerError:
        """An error in one line; that of a plugin's own validator is passed on."""
        raised = error.errors()[0].get("ctx", {}).get("error")
        return raised if isinstance(raised, LsamplerError) else LsamplerError(cls._explain(error))

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            return f"{cls.name}: no parameter '{shortened(key)}'{nearest_name(key, cls.model_fields)}"
        if not key:
            return f"{cls.name}: {first['msg'].removeprefix('Value error, ')}"
        allowed = next(parameter for parameter in cls.parameters() if parameter.name == key)
        within = f", {allowed.range}" if allowed.range else ""
        return f"{cls.name}: {key}={shortened(first['input'])} is not valid: give {allowed.type}{within}"


def as_plugin(base: type[Any], given: Any, argument: str) -> Any:
    """A plugin that is given by its name, its class or as it is.

    Args:
        base: of its kind, such as ``LatentSampler``.
        given: the name, which stands for default parameters, the class, or an instance.
        argument: what messages call it.

    Raises:
        LsamplerError: an unknown name, or something else.
    """
    if isinstance(given, base):
        return given
    if isinstance(given, str):
        return find_plugin(base, given)()
    if isinstance(given, type) and issubclass(given, base):
        with plugin_errors(f"{getattr(given, 'name', given.__name__)}: making it without parameters"):
            return given()
    raise LsamplerError(
        f"{argument}: {shortened(repr(given))} is no {base.__name__}; give a name, a class or an instance of one"
    )


def as_plugins(base: type[Any], given: Any, argument: str) -> list[Any]:
    """A list of plugins, of which each is given by name, class or as it is; a single one will do."""
    return [as_plugin(base, each, argument) for each in listed(given)]


def listed(given: Any) -> list[Any]:
    """The items of a list of plugins or the like; of a single one, that one."""
    # Instances of pydantic's models can be iterated over, and would give their parameters.
    return [given] if isinstance(given, str | type | Plugin) or not isinstance(given, Iterable) else list(given)


@functools.cache
def public_name(base: type[Any]) -> str:
    """Where users find a base class of lsampler, such as ``lsampler.samplers.LatentSampler``."""
    return ".".join([*base.__module__.split(".")[:2], base.__name__])


def code_digest(plugin: type[Plugin]) -> str:
    """A digest of a plugin class's code, and of the version of the distribution that it comes from.

    The code is all Python source of the packages of the class and of its base classes outside lsampler. Where there
    is no source, as in an interactive session, the digest is that of this process alone, so that no other process
    uses what is kept under it.
    """
    modules = {base.__module__.partition(".")[0] for base in plugin.__mro__ if base not in Plugin.__mro__}
    packages = sorted(modules - {"lsampler"})
    versions = sorted({version for package in packages for version in _versions(package)})
    return _digest(plugin.__qualname__, *versions, *map(_source_digest, packages))


@functools.cache
def _versions(package: str) -> set[str]:
    """Names and versions of the distributions that offer plugins of a package; one search reads many small files."""
    points = entry_points(group=ENTRY_POINTS)
    origins = {point.dist for point in points if point.module.partition(".")[0] == package and point.dist}
    return {f"{origin.name} {origin.version}" for origin in origins}


@functools.cache
def library_digest() -> str:
    """A digest of lsampler's own code: results kept under it are those of this code."""
    return _source_digest("lsampler")


def _source_digest(package: str) -> str:
    module, digest = sys.modules.get(package), hashlib.blake2b()
    files = [file for folder in getattr(module, "__path__", []) for file in sorted(Path(folder).rglob("*.py"))]
    try:
        for file in files or [Path(str(getattr(module, "__file__", None)))]:
            digest.update(file.read_bytes())
    except OSError:
        return uuid.uuid4().hex
    return digest.hexdigest()


def _digest(*texts: str) -> str:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).hexdigest()


def _is_same_number(given: Any, held: Any) -> bool:
    """Whether a parameter holds a number that was given as another type."""
    is_number = isinstance(given, bool | int | float | np.number | np.bool_)
    return bool(is_number and given is not held and isinstance(held, int | float) and given == held)


def _from_string(text: str, field: FieldInfo | None) -> Any:
    """The first reading that the parameter accepts: no value, JSON, or the text itself."""
    if field is None:
        return text
    readings: list[Any] = [None] if text.lower() in ("none", "null") else []
    with contextlib.suppress(ValueError, RecursionError):  # no JSON, a number of too many digits, too deep a list
        readings.append(json.loads(text))
    accepts: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    for reading in readings:
        with contextlib.suppress(ValidationError):
            accepts.validate_python(reading)
            return reading
    return text


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return " or ".join(map(_plain, schema.get("enum") or [schema["const"]]))
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    return TYPES.get(schema.get("type", ""), "a value")


def _short(value: Any) -> str:
    return shortened(f"{value:g}" if isinstance(value, float) else _plain(value), 40)


def _plain(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _range(schema: Mapping[str, Any]) -> str:
    options = schema.get("anyOf", [schema])
    return " and ".join(f"{word} {option[key]}" for option in options for key, word in BOUNDS.items() if key in option)
