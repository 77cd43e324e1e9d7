"""The base class of all plugins: a name, a summary, and typed, validated, documented parameters."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, get_args

import annotated_types
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lsampler.errors import LsamplerError, nearest_name

__all__ = ["Parameter", "Plugin"]


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
        """Name and settings as one text: equal for plugins that do the same.

        Defaults are left out, so that a parameter added later leaves the key as it is.
        """
        changed = self.model_dump(mode="json", exclude_defaults=True)
        return f"{self.name} {json.dumps(changed, sort_keys=True)}"

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
