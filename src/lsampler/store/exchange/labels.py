"""Labels in files of other programs: decoded values under their names, and beside them what each label is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, shortened
from lsampler.store.labels import Label, Labels, coded, from_json, wrong_codes

GROUP, COLUMNS = "labels", "label_columns"
"""The group of arrays with the values of labels, and the array of bytes that says what the labels are (JSON)."""
USUAL = ("y", "label", "labels", "target", "targets")
"""What an array or a column of labels is often called."""


def kept_labels(path: Path, found: Mapping[str, NDArray[Any]], described: str | bytes) -> Labels:
    """Labels as an export wrote them. Raises LsamplerError if they are not those that the description names."""
    try:
        columns = from_json(described)
    except LsamplerError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise LsamplerError(f"{path}: '{COLUMNS}' does not describe labels; export the store again") from error
    missing = next((label.name for label in columns if label.name not in found), None)
    if missing is not None:
        raise LsamplerError(f"{path}: has no values of the label '{shortened(missing)}'; export the store again")
    codes = np.column_stack([_codes(path, label, found[label.name]) for label in columns])
    if wrong := wrong_codes(columns, codes):
        raise LsamplerError(f"{path}: label '{shortened(wrong[0])}' has a value that it cannot have; correct it")
    return Labels(columns, codes)


def _codes(path: Path, label: Label, values: NDArray[Any]) -> NDArray[np.float32]:
    """The codes (n,) of decoded values."""
    if label.kind != "categorical":
        try:
            return values.astype(np.float32)
        except (ValueError, TypeError) as error:
            problem = f"label '{shortened(label.name)}' is {label.kind}, but holds other values than numbers"
            raise LsamplerError(f"{path}: {problem}; correct them") from error
    code: dict[Any, float] = {level: float(number) for number, level in enumerate(label.levels)}
    texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in values.tolist()]
    unknown = next((text for text in texts if text not in code and text not in ("", None)), None)
    if unknown is not None:
        there = f"'{shortened(unknown)}', which is none of its levels"
        raise LsamplerError(f"{path}: label '{shortened(label.name)}' holds {there}; correct it")
    return np.array([code.get(text, np.nan) for text in texts], np.float32)


def found_labels(values: Mapping[str, NDArray[Any]]) -> Labels | None:
    """Labels of other programs: what is none, such as texts that are nearly all different, is left out."""
    found = []
    for name, array in values.items():
        try:
            found.append(coded(name, array))
        except LsamplerError:
            continue
    return Labels([label for label, _ in found], np.column_stack([codes for _, codes in found])) if found else None


def decoded_labels(labels: Labels) -> dict[str, NDArray[Any]]:
    """The values of labels as arrays (n,) without objects: float32, NaN if missing; or texts, empty if missing."""
    return {
        label.name: np.array([text or "" for text in values], np.str_) if label.kind == "categorical" else values
        for label, values in zip(labels.columns, labels.values(), strict=True)
    }
