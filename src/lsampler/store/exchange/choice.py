"""Which columns or which array of a file are the latent vectors: what is certain is taken, what is not is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from lsampler.errors import LsamplerError, nearest_name, printable, shortened

LIKE_ID = re.compile(
    r"(.*[\W_])?(id|ids|idx|index|key|row|label|labels|class|classes|target|split|fold|time|timestamp|date|year)"
    r"|.*[a-z](Id|ID)|(image|img|file|item|sample|user|row|g?u|uu)id|unnamed: ?\d+|__index_level_\d+__",
    re.IGNORECASE,
)
LIKE_VECTOR = re.compile(r"latent|embed|vector|feature|encod|representation|^z$", re.IGNORECASE)
SHOWN = 3
MANY = 3


@dataclass(frozen=True)
class Field:
    """A column of a table: its type in words, and what it may be."""

    name: str
    type: str
    kind: Literal["float", "integer", "vector", "nested", "binary", "other"]

    @property
    def number(self) -> bool:
        """Whether it may be a component of the latent vectors."""
        return self.kind in ("float", "integer")

    @property
    def stem(self) -> str:
        """What its name has in common with those of a series: ``z#`` of ``z0``, ``z1`` and so on."""
        return re.sub(r"\d+(?=\D*$)", "#", self.name)


def chosen_columns(path: Path, fields: Sequence[Field], dataset: str | None) -> list[Field]:
    """The column of lists, or the columns of numbers, that are the latents.

    Args:
        path: for messages.
        fields: all columns but the ids, the splits and an index.
        dataset: names or patterns of names, such as ``z*``, separated by commas; None if the choice must be certain.

    Raises:
        LsamplerError: none or several qualify, or what does not qualify looks more like the latents.
    """
    if dataset is not None:
        return _named(path, fields, dataset)
    vectors, numbers = [f for f in fields if f.kind == "vector"], [f for f in fields if f.number]
    if vectors:
        named = [f for f in vectors if f.name == "latent"] or vectors
        if len(named) > 1:
            raise LsamplerError(f"{path}: holds {_listing(named)}; name the latent vectors with `dataset=...`")
        rivals = [f for f in fields if f.kind == "nested" or (f.kind == "binary" and LIKE_VECTOR.search(f.name))]
        rivals += _largest_series(numbers)
        if rivals and not LIKE_VECTOR.search(named[0].name):
            _refuse(path, f"'{named[0].name}' or {_listing(rivals)} may be the latent vectors", named[0].name)
        return named
    if not numbers:
        other = f", but {_listing(fields)}" if fields else ""
        fix = "write them as lists of numbers, or a number per column"
        raise LsamplerError(f"{path}: holds no column of numbers or lists of numbers{other}; {fix}")
    _check_components(path, fields, numbers)
    return numbers


def _named(path: Path, fields: Sequence[Field], dataset: str) -> list[Field]:
    by_name = {field.name: field for field in fields}
    chosen: dict[str, Field] = {}
    for pattern in [dataset] if dataset in by_name else dataset.split(","):
        matching = [name for name in by_name if fnmatchcase(name, pattern)]
        found = [pattern] if pattern in by_name else matching
        if not found:
            near = nearest_name(pattern, by_name)
            raise LsamplerError(f"{path}: holds no column of numbers or lists of numbers '{shortened(pattern)}'{near}")
        chosen |= {name: by_name[name] for name in found}
    named = list(chosen.values())
    wrong = [field for field in named if not field.number and (field.kind != "vector" or len(named) > 1)]
    if wrong:
        fix = "name one column of lists of numbers, or several of numbers"
        raise LsamplerError(f"{path}: {_listing(wrong)} cannot be among the latent vectors; {fix}")
    return named


def _check_components(path: Path, fields: Sequence[Field], numbers: list[Field]) -> None:
    """Refuse columns of numbers among which is an id, or beside which is what looks more like the latents."""
    series = _largest_series(numbers)
    stem = series[0].stem if series else None
    rivals = [f for f in fields if not f.number and (f.stem == stem or LIKE_VECTOR.search(f.name))]
    if not series:
        rivals += [f for f in fields if f.kind in ("nested", "binary") and f not in rivals]
    if rivals:
        problem = f"{_listing(rivals)} would be left out, and may belong to the latent vectors"
        raise LsamplerError(f"{path}: {problem}; write it as numbers, or choose the columns with `dataset=...`")
    odd = [f for f in numbers if (series and f not in series) or LIKE_ID.fullmatch(f.name)]
    if not odd and len(numbers) >= (MANY if series else 2):
        whole = [f for f in numbers if f.kind == "integer"]
        odd = whole if len(whole) <= (1 if series else len(numbers) - 1) else []
    if odd:
        rest = [f.name for f in numbers if f not in odd]
        among = f"is among the columns of numbers ({abbreviated(rest)}), but" if rest else "is all there is, and"
        _refuse(path, f"{_listing(odd)} {among} looks like an id or a label", stem.replace("#", "*") if stem else rest)


def _largest_series(numbers: Iterable[Field]) -> list[Field]:
    """The columns that are numbered through, such as z0, z1 and so on."""
    series: dict[str, list[Field]] = {}
    for field in numbers:
        series.setdefault(field.stem, []).append(field)
    largest = max(series.values(), key=len, default=[])
    return largest if len(largest) > 1 else []


def chosen_array(path: Path, arrays: Mapping[str, tuple[tuple[int, ...], str]], dataset: str | None) -> str:
    """The name of the latents among arrays, of which the shape and the kind of NumPy's type are known.

    Raises:
        LsamplerError: none or several qualify, or what does not qualify looks more like the latents.
    """
    if dataset is not None:
        if dataset not in arrays:
            raise LsamplerError(f"{path}: holds no array '{shortened(dataset)}'{nearest_name(dataset, arrays)}")
        return dataset
    if "latents" in arrays:
        return "latents"
    likely = [name for name, (shape, kind) in arrays.items() if len(shape) in (2, 4) and kind in "fiu"]
    candidates = likely or list(arrays)
    if not candidates:
        raise LsamplerError(f"{path}: holds no array, so no latent vectors; export them again")
    if len(candidates) > 1:
        listing = ", ".join(f"'{name}' {arrays[name][0]}" for name in candidates[:SHOWN])
        more = f" and {len(candidates) - SHOWN} more" if len(candidates) > SHOWN else ""
        raise LsamplerError(f"{path}: holds {listing}{more}; name the latent vectors with `dataset=...`")
    name = candidates[0]
    short = name.rpartition("/")[2]
    rows = arrays[name][0][:1]
    rivals = [
        f"'{other}' {shape}"
        for other, (shape, _) in arrays.items()
        if other != name and shape[:1] == rows and (len(shape) > 1 or LIKE_VECTOR.search(other))
    ]
    if rivals and not LIKE_VECTOR.search(short):
        _refuse(path, f"'{name}' {arrays[name][0]} or {', '.join(rivals[:SHOWN])} may be the latent vectors", name)
    if LIKE_ID.fullmatch(short):
        _refuse(path, f"'{name}' {arrays[name][0]} is the only array of vectors, and looks like an id or a label", name)
    return name


def _refuse(path: Path, problem: str, example: str | Sequence[str]) -> None:
    shown = example if isinstance(example, str) else ",".join(example[:SHOWN])
    such = f", such as `dataset='{shortened(shown)}'`" if shown else ""
    raise LsamplerError(f"{path}: {problem}; choose with `dataset=...`{such}")


def _listing(fields: Iterable[Field]) -> str:
    every = [f"'{shortened(field.name)}' {shortened(field.type)}" for field in fields]
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")


def abbreviated(names: Sequence[str]) -> str:
    """A list of names, its middle left out if it is long."""
    if len(names) > 2 * MANY:
        names = [*names[:MANY], "...", names[-1]]
    return ", ".join(printable(shortened(name)) for name in names)


def in_words(what: str, taken: Sequence[str], beside: Sequence[str], left_out: Sequence[str]) -> str:
    """What was taken from a file, and what was not."""
    count = f" ({len(taken)})" if len(taken) > 1 else ""
    also = f", with {abbreviated(beside)}" if beside else ""
    return f"{what} {abbreviated(taken)}{count}{also}; left out: {abbreviated(left_out) or 'nothing'}"
