"""The checks of every plugin, whatever its kind: name, documentation, parameters, threads."""

from __future__ import annotations

import itertools
import json
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any, Generic, TypeVar, cast

from lsampler.errors import LsamplerError
from lsampler.plugins.base import Plugin, as_plugin, public_name
from lsampler.plugins.registry import NAME
from lsampler.testing.checks import ComplianceError, Subject, described, refuses, require, works_or_refuses
from lsampler.testing.process_state import leaves_process_state

AnyPlugin = TypeVar("AnyPlugin", bound=Plugin)
STEP = 1e-3
"""How far inside or beyond a bound a number is tried."""


class PluginChecks(Subject, Generic[AnyPlugin]):
    """A plugin under test: a name or a class, for its default parameters, or an instance, which is not changed."""

    base: type[Plugin]
    """The class that it must be derived from."""

    def __init__(self, plugin: str | type[AnyPlugin] | AnyPlugin) -> None:
        if isinstance(plugin, str):
            plugin = cast(AnyPlugin, as_plugin(self.base, plugin, "plugin"))
        self.kind: type[AnyPlugin] = plugin if isinstance(plugin, type) else type(plugin)
        if not issubclass(self.kind, self.base):
            message = f"is not a subclass of {public_name(self.base)}; derive it from that"
            raise LsamplerError(f"{self.kind.__name__} {message}")
        name = str(getattr(self.kind, "name", self.kind.__name__))
        try:
            plugin = plugin() if isinstance(plugin, type) else plugin
        except (LsamplerError, TypeError) as error:
            problem = f"cannot be made without parameters ({described(error)}); give an instance instead of the class"
            raise ComplianceError(name, {"plugin": problem}) from error
        self.given = {field: getattr(plugin, field) for field in self.kind.model_fields}
        self._typed = {field: self.given[field] for field in plugin.model_fields_set}
        changed = plugin.model_dump(mode="json", exclude_defaults=True)
        shown = ", ".join(f"{field}={value}" for field, value in changed.items())
        self.label = f"{name}({shown})" if changed else name

    def fresh(self, **changes: Any) -> AnyPlugin:
        return self.kind(**{**self._typed, **changes})

    @abstractmethod
    def exercise(self, plugin: AnyPlugin) -> None:
        """Use a plugin with other parameters on little data, and check the result."""

    @abstractmethod
    def outcome(self, which: int) -> object:
        """What a new instance makes of the data set ``which``, 0 or 1, as a value that can be compared."""

    def check_name_and_summary(self) -> None:
        """The name is in lower case with hyphens, and the class has its own docstring with a summary."""
        name = getattr(self.kind, "name", None)
        advice = "set it to lower case with hyphens, such as 'my-strategy'"
        good = isinstance(name, str) and NAME.fullmatch(name)
        require(good, f"{self.kind.__name__}.name is {name!r}; {advice}")
        own = (vars(self.kind).get("__doc__") or "").strip()
        require(own, f"{self.kind.__name__} has no docstring; its first line is what 'lsampler plugins' prints")

    def check_parameters_described(self) -> None:
        """Every parameter has a description."""
        bare = [name for name, field in self.kind.model_fields.items() if not (field.description or "").strip()]
        require(not bare, f"no description of {', '.join(bare)}; write Field(..., description=...)")

    def check_parameters_refused(self) -> None:
        """Unknown parameters, wrong types, NaN, and numbers outside a declared bound are refused in one line."""
        refuses("an unknown parameter", lambda: self.fresh(no_such_parameter=1), naming=self.kind.name)
        for name, options in self.options().items():
            for value in _forbidden(options):
                refuses(f"{name}={value!r:.40}", partial(self.fresh, **{name: value}), naming=name)

    def check_defaults_allowed(self) -> None:
        """The defaults are within their declared types and bounds, so that they can also be given explicitly."""
        fields = {name: field for name, field in self.kind.model_fields.items() if not field.is_required()}
        defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
        for values in (self.given, {**self.given, **defaults}):
            try:
                self.kind(**values)
            except LsamplerError as error:
                raise AssertionError(f"a default is refused when it is given: {error}; fix default or bound") from error

    def check_parameters_frozen(self) -> None:
        """Parameters cannot be assigned to, because the fitted state would no longer match them."""
        plugin = self.fresh()
        for name, value in self.given.items():
            try:
                setattr(plugin, name, value)
            except Exception:  # noqa: S112  # pydantic raises an exception of its own
                continue
            raise AssertionError(f"{name} can be assigned to; keep model_config with frozen=True")

    def check_parameters_set(self) -> None:
        """get_params() has every parameter; set_params() sets valid ones, and after a wrong one nothing is changed."""
        plugin, own = self.fresh(), "do not override get_params() or set_params()"
        read = plugin.get_params()
        require(read == self.given, f"get_params() gave {read}, the parameters are {self.given}; {own}")
        wrong = {name: object() for name in self.given} | {"no_such_parameter": 1}
        for name, value in wrong.items():
            taken = works_or_refuses(f"set_params({name}=...)", partial(plugin.set_params, **{name: value}))
            same = taken is not None or plugin.key() == self.fresh().key()
            require(same, f"set_params() changes something before it refuses; {own}")
        for change in self.variants():
            expected = works_or_refuses(f"{change}", partial(self.fresh, **change))
            if expected is not None:
                found = self.fresh().set_params(**change)
                require(found.key() == expected.key(), f"set_params(**{change}) makes {found.key()}; {own}")

    def check_settings_as_json(self) -> None:
        """Parameters survive JSON and the command line's key=value, and equal parameters give equal keys."""
        plugin = self.fresh()
        try:
            text = plugin.settings_json()
        except Exception as error:
            raise AssertionError(f"settings are no JSON: {described(error)}; use plain types for parameters") from error
        again = self.kind(**json.loads(text))
        typed = self.kind.from_strings({key: json.dumps(value) for key, value in plugin.settings().items()})
        for way, other in (("read back", again), ("typed as key=value", typed)):
            same = all(getattr(other, field) == value for field, value in self.given.items())
            require(same, f"{way}, {text} makes {other!r} of {plugin!r}; use plain types for parameters")
        keys = plugin.key(), again.key()
        require(keys[0] == keys[1], f"equal plugins have keys {keys[0]} and {keys[1]}; do not override key()")
        require("\n" not in repr(plugin), "repr has several lines; do not override __repr__")

    def check_parameter_edges(self) -> None:
        """At every choice and lower bound of a parameter it works on small data, or refuses in one line."""
        for change in self.variants():
            what = ", ".join(f"{name}={value!r}" for name, value in change.items())
            works_or_refuses(what, lambda change=change: self.exercise(self.fresh(**change)))  # type: ignore[misc]

    def check_two_threads(self) -> None:
        """Two instances used in two threads at once give the results that each gives alone."""
        alone = [works_or_refuses("ordinary data", partial(self.outcome, which)) for which in (0, 1)]
        if None in alone:
            return
        started = Barrier(2)

        def at_once(which: int) -> object:
            started.wait()
            return self.outcome(which)

        with leaves_process_state("use in two threads"), ThreadPoolExecutor(2) as pool:
            same = list(pool.map(at_once, (0, 1))) == alone
            require(same, "two instances in two threads disturb each other; keep nothing on the class or module")

    def variants(self) -> Iterator[dict[str, Any]]:
        """One changed parameter at a time: every choice, none, and the lower bound of numbers (both of fractions).

        Upper bounds of whole numbers are left out: so many components or epochs would take too long.
        """
        for name, options in self.options().items():
            tried = {repr(self.given[name])}
            for value in itertools.chain.from_iterable(map(_allowed, options)):
                if repr(value) not in tried:
                    tried.add(repr(value))
                    yield {name: value}

    def options(self) -> dict[str, list[dict[str, Any]]]:
        """The JSON schemas of each parameter: of ``int | None`` those of int and of None."""
        properties = self.kind.model_json_schema().get("properties", {})
        return {name: schema.get("anyOf", [schema]) for name, schema in properties.items()}


def _allowed(schema: Mapping[str, Any]) -> Iterator[Any]:
    """All choices, or the bounds."""
    match schema:
        case {"enum": choices}:
            yield from choices
        case {"const": choice}:
            yield choice
        case {"type": "boolean"}:
            yield from (False, True)
        case {"type": "null"}:
            yield None
        case {"type": "integer"}:
            low = schema.get("minimum", schema.get("exclusiveMinimum", -2) + 1)
            yield from (low, low + 1)
        case {"type": "number"}:
            excluded = "exclusiveMinimum" in schema
            yield schema["exclusiveMinimum"] + STEP if excluded else float(schema.get("minimum", -1.0))
            yield from () if excluded or "minimum" in schema else (0.0,)
            if "maximum" in schema or "exclusiveMaximum" in schema:
                yield float(schema["maximum"]) if "maximum" in schema else schema["exclusiveMaximum"] - STEP


def _forbidden(options: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    """Values that the declared types and bounds do not allow."""
    yield object()
    numbers = [schema for schema in options if schema.get("type") in ("integer", "number")]
    real = any(schema["type"] == "number" for schema in numbers)
    yield from (math.nan, math.inf) if real else ()
    for schema in numbers:
        step = STEP if real else 1
        yield from (schema["minimum"] - step,) if "minimum" in schema else ()
        yield from (schema["maximum"] + step,) if "maximum" in schema else ()
        yield from (schema[bound] for bound in ("exclusiveMinimum", "exclusiveMaximum") if bound in schema)
