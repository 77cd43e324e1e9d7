"""Labels: named properties of items beside their latent vectors, binary, categorical or continuous, perhaps missing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name, shortened

LabelKind = Literal["binary", "categorical", "continuous"]
FEW_NUMBERS = 20
"""Whole numbers with at most so many different values are taken for categories, such as digits."""
MOST_LEVELS = 10_000
MOST_LABELS = 10_000
SHOWN_LEVELS = 12
MISSING_TEXTS = frozenset({"", "na", "n/a", "nan", "none", "null", "?"})


@dataclass(frozen=True)
class Label:
    """What one label is.

    Attributes:
        name: of the label.
        kind: ``binary`` for 0 and 1, ``categorical`` for one of some levels, ``continuous`` for numbers.
        levels: of a categorical label, in the order of their codes.
    """

    name: str
    kind: LabelKind
    levels: tuple[str, ...] = ()

    def shown(self, code: float) -> str:
        """A value as text: the level of a code, or the number; ``missing`` for NaN."""
        if np.isnan(code):
            return "missing"
        return self.levels[int(code)] if self.kind == "categorical" else f"{code:g}"


class Labels(Mapping[str, NDArray[Any]]):
    """The labels of some rows: a mapping from names to the values of each row.

    Values of binary and continuous labels are float32, NaN where one is missing; those of categorical labels are texts
    (an array of objects), None where one is missing.

    Attributes:
        columns: what each label is.
        codes: (n, L) float32, as a store keeps them: 0 and 1, the number of the level, or the number; NaN is missing.
    """

    def __init__(self, columns: Sequence[Label], codes: NDArray[Any]) -> None:
        self.columns, self.codes = tuple(columns), np.asarray(codes, np.float32)

    @classmethod
    def of(cls, given: Any, count: int, *, kinds: Mapping[str, LabelKind] | None = None) -> Labels:
        """The labels of ``count`` rows.

        Args:
            given: a mapping of names to arrays (count,), a DataFrame, labels, or one array, which is called ``label``,
                or by its own name if it has one, as a Series of pandas.
            count: of the rows.
            kinds: of labels whose values do not tell: numbers with few different values count as categories, -1 and 1
                as well as 0 and 1 as binary.

        Raises:
            LsamplerError: labels of another number or shape, two of one name, or a kind that the values do not have.
        """
        if isinstance(given, Labels):
            given._require(count)
            return given
        if hasattr(given, "columns"):
            given = {str(name): given[name] for name in given.columns}
        named = given if isinstance(given, Mapping) else {str(getattr(given, "name", None) or "label"): given}
        columns, codes = [], np.empty((count, len(named)), np.float32)
        for place, (name, values) in enumerate(named.items()):
            array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
            if array.shape != (count,):
                what = f"'{shortened(str(name))}' has the shape {array.shape}"
                raise LsamplerError(f"`labels`: {what} for {count} items; give one per item")
            label, codes[:, place] = coded(str(name), array, (kinds or {}).get(str(name)))
            columns.append(label)
        return cls(columns, codes)

    def _require(self, count: int) -> None:
        if len(self.codes) != count:
            raise LsamplerError(f"`labels`: {len(self.codes)} rows of labels for {count} items; give one per item")

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in their order."""
        return tuple(label.name for label in self.columns)

    def place(self, name: str) -> int:
        """The number of a label. Raises LsamplerError, with the nearest name, if there is none of that name."""
        if name not in self.names:
            raise LsamplerError(f"no label '{shortened(name)}'{nearest_name(name, self.names)}")
        return self.names.index(name)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.names:
            raise KeyError(name)
        place = self.names.index(name)
        label, codes = self.columns[place], self.codes[:, place]
        if label.kind != "categorical":
            return codes
        known = np.array([*label.levels, None], dtype=object)
        return known[np.where(np.isnan(codes), len(label.levels), codes).astype(np.int64)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.columns)

    def summary(self) -> list[tuple[str, str, str, str]]:
        """For each label: its name, its kind, its values in words, and the share of rows where it is missing."""
        found: list[tuple[str, str, str, str]] = []
        for label, values in zip(self.columns, self.codes.T, strict=True):
            known = values[~np.isnan(values)]
            absent = 1 - len(known) / len(values) if len(values) else 0.0
            words = _in_words(label, known) if len(known) else "none"
            found.append((label.name, label.kind, words, f"{absent:.1%}" if absent else "0 %"))
        return found

    def rows(self, chosen: Any) -> Labels:
        """The labels of some of the rows, by numbers or a mask, in that order."""
        return Labels(self.columns, self.codes[chosen])


def _in_words(label: Label, known: NDArray[np.float32]) -> str:
    """The share of 1, the shares of the levels, or median and range."""
    if label.kind == "binary":
        return f"1 in {known.mean(dtype=np.float64):.1%}"
    if label.kind == "continuous":
        low, middle, high = np.quantile(known.astype(np.float64), [0, 0.5, 1])
        return f"{low:.4g} to {high:.4g}, median {middle:.4g}"
    counts = np.bincount(known.astype(np.int64), minlength=len(label.levels))
    common = np.argsort(-counts, kind="stable")[:SHOWN_LEVELS]
    shares = ", ".join(f"{shortened(label.levels[code], 30)} {counts[code] / len(known):.0%}" for code in common)
    rest = len(label.levels) - len(common)
    return f"{len(label.levels)} levels: {shares}" + (f" and {rest} more" if rest else "")


def united(several: Iterable[Sequence[Label]]) -> tuple[Label, ...]:
    """The labels of several stores together: those of one name are one label, with the levels of all.

    Raises:
        LsamplerError: two labels of one name are of different kinds.
    """
    found: dict[str, Label] = {}
    for label in (label for columns in several for label in columns):
        known = found.setdefault(label.name, label)
        if known.kind != label.kind:
            raise LsamplerError(
                f"label '{shortened(label.name)}' is {known.kind} in one store and {label.kind} in another; rename one"
            )
        more = [level for level in label.levels if level not in known.levels]
        if more:
            found[label.name] = Label(label.name, label.kind, (*known.levels, *more))
    return tuple(found.values())


def recoded(labels: Labels | None, columns: Sequence[Label], count: int) -> NDArray[np.float32]:
    """The codes (count, L) of rows by other columns: missing where they lack a label, levels by their new numbers."""
    if labels is not None and labels.columns == tuple(columns):
        return labels.codes
    codes = np.full((count, len(columns)), np.nan, np.float32)
    for place, label in enumerate(columns if labels is not None else ()):
        if labels is None or label.name not in labels.names:
            continue
        own = labels.place(label.name)
        values, levels = labels.codes[:, own], labels.columns[own].levels
        if levels != label.levels:
            number = np.array([*(label.levels.index(level) for level in levels), np.nan], np.float32)
            values = number[np.where(np.isnan(values), len(levels), values).astype(np.int64)]
        codes[:, place] = values
    return codes


def as_json(columns: Sequence[Label]) -> str:
    """What labels are, as text for a file."""
    return json.dumps([asdict(label) for label in columns], ensure_ascii=True)


def from_json(text: str | bytes) -> tuple[Label, ...]:
    """What :func:`as_json` wrote. Raises ValueError if it is anything else."""
    found = json.loads(text)
    if not isinstance(found, list) or not 0 < len(found) <= MOST_LABELS:
        raise ValueError("no list of labels")
    columns = tuple(Label(entry["name"], entry["kind"], tuple(entry["levels"])) for entry in found)
    for label in columns:
        texts = all(isinstance(text, str) for text in (label.name, *label.levels))
        if not texts or label.kind not in get_args(LabelKind) or len(set(label.levels)) != len(label.levels):
            raise ValueError(f"label {shortened(repr(label.name))} is no label")
        if len(label.levels) > MOST_LEVELS or (label.kind != "categorical" and label.levels):
            raise ValueError(f"label {shortened(repr(label.name))} has impossible levels")
    if len({label.name for label in columns}) != len(columns):
        raise ValueError("two labels have one name")
    return columns


def wrong_codes(columns: Sequence[Label], codes: NDArray[Any]) -> list[str]:
    """The names of labels of which a code (n, L) is none that they can have."""
    wrong = []
    for label, values in zip(columns, codes.T, strict=True):
        known = values[~np.isnan(values)]
        top = {"binary": 1, "categorical": len(label.levels) - 1}.get(label.kind)
        bad = np.isinf(known) if top is None else (known < 0) | (known > top) | (known != known.round())
        wrong += [label.name] if bad.any() else []
    return wrong


def coded(name: str, values: NDArray[Any], kind: LabelKind | None = None) -> tuple[Label, NDArray[np.float32]]:
    """What a label is, and its codes (n,) float32.

    Args:
        name: of the label.
        values: (n,) numbers, bools or texts; NaN, None and empty texts are missing.
        kind: None lets the values tell.

    Raises:
        LsamplerError: texts among numbers, too many levels, infinite values, or values of another kind.
    """
    called = f"label '{shortened(name)}'"
    if kind is not None and kind not in get_args(LabelKind):
        raise LsamplerError(f"{called}: kind '{kind}' is unknown{nearest_name(kind, get_args(LabelKind))}")
    numbers = _numbers(called, values)
    if numbers is None:
        if kind in ("binary", "continuous"):
            raise LsamplerError(f"{called}: holds texts, so it is not {kind}; leave out its kind")
        if kind is None:
            _refuse_mixed(called, values)
        return _levels(name, np.array([_text(value) for value in values], dtype=object))
    known = numbers[~np.isnan(numbers)]
    if np.isinf(known).any():
        raise LsamplerError(f"{called}: holds infinite values; give numbers, or nothing where one is missing")
    found = kind or _kind_of(known)
    if found == "binary":
        different = set(np.unique(known))
        if not (different <= {0.0, 1.0} or different <= {-1.0, 1.0}):
            raise LsamplerError(f"{called}: is not binary; a binary label holds 0 and 1, or -1 and 1")
        low = -1.0 if -1.0 in different else 0.0
        return Label(name, "binary"), ((numbers - low) / (1.0 - low)).astype(np.float32)
    if found == "categorical":
        texts = np.array([None if np.isnan(number) else f"{number:.9g}" for number in numbers], dtype=object)
        return _levels(name, texts, key=float)
    return Label(name, "continuous"), numbers.astype(np.float32)


def _numbers(called: str, values: NDArray[Any]) -> NDArray[np.float64] | None:
    """The values as numbers, NaN where one is missing; None if one is a text that is no number."""
    if values.dtype.kind in "fiub":
        return values.astype(np.float64)
    if values.dtype.kind not in "OUS":
        raise LsamplerError(f"{called}: is of type {values.dtype}; give numbers or texts")
    with contextlib.suppress(ValueError, TypeError):  # without a loop in Python, where all are numbers
        return values.astype(np.float64)
    found = np.empty(len(values))
    for row, value in enumerate(values.tolist()):
        text = _text(value)
        try:
            found[row] = np.nan if text is None else float(text)
        except ValueError:
            return None
    return found


def _refuse_mixed(called: str, values: NDArray[Any]) -> None:
    """Raise LsamplerError if most values are numbers, and others texts: those are likely to be mistakes."""
    numbers, texts = [], []
    for value in dict.fromkeys(filter(None, map(_text, values.tolist()))):
        try:
            float(value)
            numbers.append(value)
        except ValueError:
            texts.append(value)
    if len(numbers) > len(texts):
        fix = "correct it, or declare its kind categorical"
        mixed = f"numbers such as '{shortened(numbers[0])}' and texts such as '{shortened(texts[0])}'"
        raise LsamplerError(f"{called}: holds {mixed}; {fix}")


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values (n,) are missing: NaN, None, empty texts, and texts that say so."""
    if values.dtype.kind in "iub":
        return np.zeros(len(values), np.bool_)
    if values.dtype.kind == "f":
        found: NDArray[np.bool_] = np.isnan(values)
        return found
    return np.array([_text(value) is None for value in values.tolist()], np.bool_)


def _text(value: Any) -> str | None:
    """A value as text; None if it is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)) or str(value) in ("<NA>", "NaT"):
        return None
    text = (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()
    text = {"True": "1", "False": "0"}.get(text, text) if isinstance(value, bool | np.bool_) else text
    return None if text.lower() in MISSING_TEXTS else text


def _kind_of(known: NDArray[np.float64]) -> LabelKind:
    different = np.unique(known)
    if set(different) <= {0.0, 1.0} or set(different) <= {-1.0, 1.0}:
        return "binary"
    return "categorical" if len(different) <= FEW_NUMBERS and (different == different.round()).all() else "continuous"


def _levels(name: str, texts: NDArray[np.object_], key: Any = None) -> tuple[Label, NDArray[np.float32]]:
    levels = sorted({text for text in texts if text is not None}, key=key)
    if len(levels) > MOST_LEVELS:
        what = f"has {len(levels):,} different values, at most {MOST_LEVELS:,} are levels"
        raise LsamplerError(f"label '{shortened(name)}': {what}; leave it out, or declare it continuous")
    code = {level: float(number) for number, level in enumerate(levels)} | {None: np.nan}
    return Label(name, "categorical", tuple(levels)), np.array([code[text] for text in texts], np.float32)
