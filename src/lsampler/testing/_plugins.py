"""What is promised of every plugin, whatever its kind: name, documentation, parameters."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from lsampler.errors import LsamplerError
from lsampler.plugins.base import Plugin
from lsampler.plugins.registry import NAME
from lsampler.testing._ask import refusal, require, works_or_refuses
from lsampler.testing._check import ComplianceError, told

__all__ = ["PLUGIN_CHECKS", "PluginSubject", "variants"]

AnyPlugin = TypeVar("AnyPlugin", bound=Plugin)
STEP = 1e-3
"""How far inside a bound that is itself left out a value is tried."""
BEYOND: dict[str, int] = {"Gt": 0, "Ge": -1, "Lt": 0, "Le": 1}
"""How far from a bound the nearest whole number lies that it forbids."""


class PluginSubject(Generic[AnyPlugin]):
    """A plugin under test: its class and the parameters it was given.

    Args:
        plugin: a class, for its default parameters, or an instance, which is left as it is.
    """

    def __init__(self, plugin: type[AnyPlugin] | AnyPlugin) -> None:
        self.kind: type[AnyPlugin] = plugin if isinstance(plugin, type) else type(plugin)
        name = str(getattr(self.kind, "name", self.kind.__name__))
        if isinstance(plugin, type):
            plugin = _with_defaults(plugin, name)
        self.given = {field: getattr(plugin, field) for field in self.kind.model_fields}
        self._typed = {field: self.given[field] for field in plugin.model_fields_set}
        changed = plugin.model_dump(mode="json", exclude_defaults=True)
        shown = ", ".join(f"{field}={value}" for field, value in changed.items())
        self.label = f"{name}({shown})" if changed else name

    def fresh(self, **changes: Any) -> AnyPlugin:
        """A new instance, of which nothing was asked yet."""
        return self.kind(**{**self._typed, **changes})

    @abstractmethod
    def exercise(self, plugin: AnyPlugin) -> None:
        """Put a plugin with other parameters to its use, on little data, and look at the result."""


def _with_defaults(kind: type[AnyPlugin], name: str) -> AnyPlugin:
    try:
        return kind()
    except (LsamplerError, TypeError) as error:
        problem = f"cannot be made without parameters ({told(error)}); give an instance instead of the class"
        raise ComplianceError(name, {"plugin": problem}) from error


def name_and_summary(subject: PluginSubject[Any]) -> None:
    """The name is in lower case with hyphens, and the class has a docstring of its own with a summary."""
    kind = subject.kind
    name = getattr(kind, "name", None)
    require(
        isinstance(name, str) and NAME.fullmatch(name),
        f"{kind.__name__}.name is {name!r}; set it to lower case with hyphens, such as 'my-strategy'",
    )
    require(
        (kind.__dict__.get("__doc__") or "").strip(),
        f"{kind.__name__} has no docstring; its first line is what 'lsampler plugins' prints",
    )


def parameters_described(subject: PluginSubject[Any]) -> None:
    """Every parameter has a description."""
    bare = [name for name, field in subject.kind.model_fields.items() if not (field.description or "").strip()]
    require(not bare, f"no description of {', '.join(bare)}; write Field(..., description=...)")


def parameters_refused(subject: PluginSubject[Any]) -> None:
    """Unknown parameters, values of a wrong type, NaN, and numbers beyond a declared bound are refused in one line."""
    name = subject.kind.name
    refusal("an unknown parameter", lambda: subject.fresh(no_such_parameter=1), naming=name)
    for field, info in subject.kind.model_fields.items():
        for value in _forbidden(info):
            refusal(f"{field}={value!r:.40}", _made(subject, field, value), naming=field)


def defaults_allowed(subject: PluginSubject[Any]) -> None:
    """The parameters are themselves within their declared types and bounds, so that they can be given by hand."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in subject.kind.model_fields.items()
        if not field.is_required()
    }
    for values in (subject.given, {**subject.given, **defaults}):
        try:
            subject.kind(**values)
        except LsamplerError as error:
            raise AssertionError(f"a default is refused when it is given: {error}; mend default or bound") from error


def parameters_frozen(subject: PluginSubject[Any]) -> None:
    """Parameters cannot be changed afterwards: what was fitted would no longer belong to them."""
    plugin = subject.fresh()
    for name, value in subject.given.items():
        try:
            setattr(plugin, name, value)
        except Exception:  # noqa: S112  # pydantic refuses with an exception of its own
            continue
        raise AssertionError(f"{name} can be assigned to; keep model_config with frozen=True")


def settings_as_json(subject: PluginSubject[Any]) -> None:
    """Parameters survive JSON and the command line's key=value, and equal ones have equal keys."""
    plugin = subject.fresh()
    try:
        text = plugin.settings_json()
    except Exception as error:
        raise AssertionError(f"settings are no JSON: {told(error)}; use plain types for parameters") from error
    again = subject.kind(**json.loads(text))
    typed = subject.kind.from_strings({key: json.dumps(value) for key, value in plugin.settings().items()})
    for way, other in (("read back", again), ("typed as key=value", typed)):
        same = all(getattr(other, field) == value for field, value in subject.given.items())
        require(same, f"{way}, {text} makes {other!r} of {plugin!r}; use plain types for parameters")
    require(plugin.key() == again.key(), f"equal plugins have keys {plugin.key()} and {again.key()}; leave key() alone")
    require("\n" not in repr(plugin), "repr has several lines; leave __repr__ alone")


def parameter_edges(subject: PluginSubject[Any]) -> None:
    """At every choice and lower edge of a parameter it works on small data, or refuses in one line."""
    for field, value in variants(subject.kind, subject.given):
        what = f"{field}={value!r}"

        def use(field: str = field, value: Any = value) -> None:
            subject.exercise(subject.fresh(**{field: value}))

        works_or_refuses(what, use)


PLUGIN_CHECKS: tuple[Callable[[Any], None], ...] = (
    name_and_summary,
    parameters_described,
    parameters_refused,
    defaults_allowed,
    parameters_frozen,
    settings_as_json,
    parameter_edges,
)


def variants(kind: type[Plugin], given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(parameter, value) one at a time: all choices, none, and the low edge of numbers (the high one of fractions).

    High edges of whole numbers are left out: so many components or epochs nobody waits for.
    """
    for name, field in kind.model_fields.items():
        tried = {repr(given[name])}
        for value in _values(field):
            if repr(value) not in tried:
                tried.add(repr(value))
                yield name, value


def _values(field: FieldInfo) -> Iterator[Any]:
    bounds = dict(_bounds(field))
    for option in _options(field.annotation):
        if option is bool:
            yield from (False, True)
        elif option is int:
            low = bounds.get("Ge", bounds.get("Gt", -2) + 1)
            yield from (low, low + 1)
        elif option is float:
            yield from _edges(bounds)
        elif option is type(None):
            yield None
        elif not isinstance(option, type):
            yield option


def _edges(bounds: Mapping[str, Any]) -> Iterator[float]:
    if "Ge" in bounds or "Gt" in bounds:
        yield float(bounds["Ge"]) if "Ge" in bounds else bounds["Gt"] + STEP
    else:
        yield from (-1.0, 0.0)
    if "Le" in bounds or "Lt" in bounds:
        yield float(bounds["Le"]) if "Le" in bounds else bounds["Lt"] - STEP


def _forbidden(field: FieldInfo) -> Iterator[Any]:
    """Values that the declared type and bounds do not allow."""
    options = set(_options(field.annotation))
    yield object()
    if float in options:
        yield from (math.nan, math.inf)
    whole = int in options and float not in options
    for rule, bound in _bounds(field):
        away = BEYOND[rule] if rule in ("Gt", "Lt") or whole else math.copysign(STEP, BEYOND[rule])
        yield bound + away


def _bounds(field: FieldInfo) -> Iterator[tuple[str, Any]]:
    for rule in field.metadata:
        for part in rule if isinstance(rule, annotated_types.GroupedMetadata) else [rule]:
            kind = type(part).__name__
            if kind in BEYOND:
                yield kind, getattr(part, kind.lower())


def _options(annotation: Any) -> Iterator[Any]:
    """The types and literal values that a type allows: of ``int | None`` int and NoneType."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_args(annotation) and get_origin(annotation) not in (tuple, list, dict, set):
        for part in get_args(annotation):
            yield from _options(part)
    elif annotation is not None and get_origin(annotation) is None:
        yield annotation


def _made(subject: PluginSubject[Any], field: str, value: Any) -> Callable[[], object]:
    return lambda: subject.fresh(**{field: value})
