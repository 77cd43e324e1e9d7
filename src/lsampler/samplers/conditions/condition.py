"""Conditions: wanted values of labels, as ``{"Smiling": 1, "Age": ">=40"}`` or the texts of the command line."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.store.labels import Label

WhereLike: TypeAlias = "Mapping[str, Any] | str | Sequence[str]"
"""A condition as users give it: values by name, or texts such as ``Age>=40``, which all have to hold."""
Interval: TypeAlias = tuple[float, float]
COMPARISONS = {">=": operator.ge, "<=": operator.le, "!=": operator.ne, "==": operator.eq}
COMPARISONS |= {"=": operator.eq, ">": operator.gt, "<": operator.lt}
SIGN = re.compile("|".join(COMPARISONS))
HOW = "write it as Smiling=1, 'Age>=40' or digit=7"
MANY_SHOWN = 12


@dataclass(frozen=True)
class Wanted:
    """The wanted values of one label.

    Attributes:
        label: which one.
        place: its number.
        codes: of a binary or categorical label, those that fulfil the condition.
        intervals: of a continuous label, closed ones, in ascending order; a value in any of them fulfils it.
    """

    label: Label
    place: int
    codes: tuple[float, ...] = ()
    intervals: tuple[Interval, ...] = ()

    @property
    def value(self) -> float | None:
        """The code that is wanted, if it is a single one."""
        if len(self.codes) == 1:
            return self.codes[0]
        single = len(self.intervals) == 1 and self.intervals[0][0] == self.intervals[0][1]
        return self.intervals[0][0] if single else None

    def fulfilled(self, codes: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the label's codes (n,) fulfil it; a missing one does not."""
        if self.label.kind != "continuous":
            return np.isin(codes, self.codes)
        found = np.zeros(len(codes), dtype=bool)
        for low, high in self.intervals:
            found |= (codes >= low) & (codes <= high)
        return found


@dataclass(frozen=True)
class Condition:
    """Wanted values of some labels, all of which have to hold.

    Attributes:
        wanted: for each label that the condition names.
        text: the condition in words, such as ``Smiling=1 and Age>=40``.
    """

    wanted: tuple[Wanted, ...]
    text: str

    @classmethod
    def of(cls, where: WhereLike, columns: Sequence[Label]) -> Condition:
        """A condition on labels.

        Args:
            where: values by the names of labels: one, a comparison such as ``">=40"``, or a list of which any will do;
                or texts such as ``"Age>=40"`` and ``"digit=3|8"``, a single one or several that all have to hold.
            columns: the labels that there are.

        Raises:
            LsamplerError: no condition, an unknown label, a value that the label never takes, a comparison that it
                does not allow, or conditions that exclude each other.
        """
        asked = list(_asked(where, columns))
        if not asked:
            raise LsamplerError(f"`where=...`: names no label; {HOW}, or leave it out")
        found: dict[str, Wanted] = {}
        words = []
        for name, values in asked:
            place = _place(name, columns)
            one = _any_of(columns[place], place, values)
            found[name] = _both(found[name], one) if name in found else one
            words.append(_words(columns[place], values))
        return cls(tuple(found.values()), " and ".join(words))

    def fulfilled(self, codes: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows of codes (n, L) fulfil it: those whose labels all do; a missing one never does."""
        found = np.ones(len(codes), dtype=bool)
        for one in self.wanted:
            found &= one.fulfilled(codes[:, one.place])
        return found

    @property
    def places(self) -> list[int]:
        """The numbers of the labels that it names."""
        return [one.place for one in self.wanted]


def _asked(where: Any, columns: Sequence[Label]) -> Iterable[tuple[str, list[Any]]]:
    """The names of labels, and the values or comparisons of which any has to hold."""
    if isinstance(where, Mapping):
        for name, given in where.items():
            values = list(given) if isinstance(given, list | tuple | set | frozenset | np.ndarray) else [given]
            if not values:
                raise LsamplerError(
                    f"`where=...`: no value of '{shortened(name)}' is wanted; give one, or leave it out"
                )
            yield str(name), values
    elif isinstance(where, str):
        yield _from_text(where, columns)
    elif isinstance(where, Iterable):
        for text in where:
            if not isinstance(text, str):
                raise LsamplerError(f"`where=...`: {shortened(repr(text))} is no condition; {HOW}")
            yield _from_text(text, columns)
    else:
        raise LsamplerError(f"`where=...`: {shortened(repr(where))} is no condition; give {{'Smiling': 1}}, or texts")


def _from_text(text: str, columns: Sequence[Label]) -> tuple[str, list[Any]]:
    """The parts of ``NAME=VALUE``, ``NAME>=NUMBER`` and the like; names of labels may hold signs themselves."""
    for label in sorted(columns, key=lambda one: -len(one.name)):
        rest = text.strip().removeprefix(label.name).lstrip() if text.strip().startswith(label.name) else ""
        if sign := SIGN.match(rest):
            return label.name, _alternatives(sign[0], rest[sign.end() :].strip(), label)
    sign = SIGN.search(text)
    if sign is None or not text[: sign.start()].strip():
        raise LsamplerError(f"`where={shortened(text)}`: is no condition; {HOW}")
    return text[: sign.start()].strip(), [text[sign.start() :].strip()]


def _alternatives(sign: str, value: str, label: Label) -> list[Any]:
    if sign in ("=", "=="):
        return [value] if value in label.levels else value.split("|")
    return [sign + value]


def _place(name: str, columns: Sequence[Label]) -> int:
    names = [label.name for label in columns]
    if name not in names:
        raise LsamplerError(f"`where=...`: no label '{shortened(name)}'{nearest_name(name, names)}")
    return names.index(name)


def _any_of(label: Label, place: int, values: Sequence[Any]) -> Wanted:
    """The values of a label that fulfil any of the given ones."""
    if label.kind == "continuous":
        return Wanted(label, place, intervals=tuple(sorted({i for value in values for i in _intervals(label, value)})))
    codes = {code for value in values for code in _codes(label, value)}
    return Wanted(label, place, codes=tuple(sorted(codes)))


def _both(one: Wanted, other: Wanted) -> Wanted:
    """What fulfils two conditions on the same label. Raises LsamplerError if nothing does."""
    codes = tuple(code for code in one.codes if code in other.codes)
    crossed = ((max(a[0], b[0]), min(a[1], b[1])) for a in one.intervals for b in other.intervals)
    intervals = tuple(sorted({pair for pair in crossed if pair[0] <= pair[1]}))
    if not codes and not intervals:
        what = f"the conditions on '{shortened(one.label.name)}' exclude each other"
        raise LsamplerError(f"`where=...`: {what}; leave one out, or give alternatives as a list")
    return Wanted(one.label, one.place, codes, intervals)


def _split(value: Any) -> tuple[str, Any]:
    """The comparison of a value, ``=`` if it names none, and what is compared with."""
    if isinstance(value, str) and (sign := SIGN.match(value.strip())):
        return sign[0], value.strip()[sign.end() :].strip()
    return "=", value.strip() if isinstance(value, str) else value


def _codes(label: Label, value: Any) -> list[float]:
    """The codes of a binary or categorical label that one value or comparison allows."""
    texts = list(label.levels) if label.kind == "categorical" else ["0", "1"]
    plain = _plain(value)
    if plain in texts:
        return [float(texts.index(plain))]
    sign, other = _split(value)
    plain = _plain(other)
    if sign in ("=", "==", "!="):
        if plain not in texts:
            raise LsamplerError(
                f"`where=...`: '{shortened(label.name)}' is never {_shown(plain)}; {_takes(texts, plain)}"
            )
        return [float(k) for k, text in enumerate(texts) if COMPARISONS[sign](text, plain)]
    numbers: list[Any] = [_number(text) for text in texts]
    bound = _number(other)
    if bound is None or None in numbers:
        what = "its values are no numbers" if None in numbers else f"{_shown(plain)} is no number"
        raise LsamplerError(f"`where=...`: '{shortened(label.name)}' cannot be compared by {sign}, {what}; use = or !=")
    found = [float(k) for k, number in enumerate(numbers) if COMPARISONS[sign](number, bound)]
    if not found:
        what = f"'{shortened(label.name)}' is never {sign} {_shown(plain)}"
        raise LsamplerError(f"`where=...`: {what}; {_takes(texts, plain)}")
    return found


def _intervals(label: Label, value: Any) -> list[Interval]:
    """The closed intervals of float32 numbers of a continuous label that one value or comparison allows."""
    sign, other = _split(value)
    number = _number(other)
    if number is None:
        what = f"'{shortened(label.name)}' holds numbers, and {_shown(_plain(other))} is none"
        raise LsamplerError(f"`where=...`: {what}; give a number, or a comparison such as '>=40'")
    single = np.float32(number)  # as labels are kept
    same = float(single)
    above, below = (float(np.nextafter(single, np.float32(end))) for end in (np.inf, -np.inf))
    return {
        "=": [(same, same)],
        "==": [(same, same)],
        ">=": [(same, np.inf)],
        "<=": [(-np.inf, same)],
        ">": [(above, np.inf)],
        "<": [(-np.inf, below)],
        "!=": [(-np.inf, below), (above, np.inf)],
    }[sign]


def _plain(value: Any) -> str:
    """A value as the levels of labels are written."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, int | float | np.number):
        return f"{float(value):.9g}"
    return {"true": "1", "false": "0"}.get(str(value).strip().lower(), str(value).strip())


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _shown(value: str) -> str:
    return f"'{shortened(value)}'"


def _takes(texts: Sequence[str], given: str) -> str:
    """What a label takes: all values if they are few, otherwise the nearest ones."""
    if len(texts) <= MANY_SHOWN:
        return f"it takes {', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else f"it takes {texts[0]} only"
    return f"it takes {len(texts)} values{shortened(nearest_name(given, texts), 100)}"


def _words(label: Label, values: Sequence[Any]) -> str:
    """One condition in words, such as ``Age>=40`` or ``digit=3|8``."""
    parts = [("=", value) if _plain(value) in label.levels else _split(value) for value in values]
    if all(sign in ("=", "==") for sign, _ in parts):
        return f"{label.name}={'|'.join(_plain(value) for _, value in parts)}"
    text = " or ".join(f"{label.name}{sign}{_plain(value)}" for sign, value in parts)
    return f"({text})" if len(parts) > 1 else text
