"""Anything array-like as an array of vectors: lists, tensors, tables of pandas or polars, NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, shortened

VECTORS = "(number of vectors, D)"


class NotNumbers(LsamplerError, TypeError):  # noqa: N818
    """An array of Python objects of which one is no number; a TypeError, as scikit-learn expects of it."""


def as_numbers(
    values: Any, argument: str, instead: str = f"give an array of numbers {VECTORS}", shape: str = VECTORS
) -> NDArray[Any]:
    """An array of real numbers, of any shape and of NumPy's own types.

    Args:
        values: an array, a list of lists, a tensor, which may be on a GPU or need gradients, or a table with the
            method ``to_numpy``.
        argument: what messages call it.
        instead: what to give instead of something that is none of these.
        shape: that messages ask for.

    Raises:
        LsamplerError: it is something else, sparse, ragged, complex, or holds texts or other objects.
    """
    if hasattr(values, "toarray"):
        raise LsamplerError(f"{argument}: is sparse; give a dense array, such as {argument}.toarray()")
    columns = getattr(values, "columns", None)
    if hasattr(values, "detach"):
        if str(values.layout) != "torch.strided":
            raise LsamplerError(f"{argument}: is a sparse tensor; give a dense one, such as {argument}.to_dense()")
        values = values.detach().cpu()
        values = (values.float() if values.element_size() < 4 and values.is_floating_point() else values).numpy()
    elif hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if not (hasattr(values, "__array__") or isinstance(values, list | tuple)):
        raise LsamplerError(f"{argument}: cannot use {type(values).__name__}; {instead}")
    if np.ma.is_masked(values):
        raise LsamplerError(f"{argument}: holds masked values; fill them, or leave out these rows")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:  # rows of unequal length, or objects that NumPy does not know
        problem = f"{argument}: not an array of numbers {shape}"
        raise LsamplerError(f"{problem}; give rows of the same length that hold numbers only") from error
    if array.dtype.kind == "O":
        return _numbers(array, argument, columns, shape)
    if array.dtype.kind == "c":
        raise LsamplerError(f"{argument}: Complex data not supported; give real numbers, such as {argument}.real")
    if array.dtype.kind not in "fiub":  # NumPy would read texts as numbers
        what = "texts" if array.dtype.kind in "US" else f"values of type {array.dtype}"
        raise LsamplerError(f"{argument}: not an array of numbers {shape}, but of {what}; turn them into numbers")
    return array


def _numbers(array: NDArray[np.object_], argument: str, columns: Any, shape: str) -> NDArray[np.float64]:
    """Python objects as numbers; the first that is none is named with its place."""
    try:
        if not any(issubclass(kind, str | bytes | complex) for kind in set(map(type, array.flat))):
            return array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    for place, value in np.ndenumerate(array):
        reason = "a text" if isinstance(value, str | bytes) else ""
        try:
            reason = reason or ("a complex number" if isinstance(value, complex) else "")
            float(value)
        except (TypeError, ValueError) as error:
            reason = reason or str(error)
        if reason:
            where = f"row {place[0]}" if place else "it"
            if len(place) == 2:
                where += f", column {place[1] if columns is None else repr(columns[place[1]])}"
            raise NotNumbers(
                f"{argument}: not an array of numbers {shape}: {where} holds {shortened(repr(value), 40)} "
                f"({shortened(reason, 90)}); leave it out, or turn it into a number"
            )
    return array.astype(np.float64)


def require_table(array: NDArray[Any], argument: str) -> None:
    """Raise LsamplerError unless the shape is (n, D) with D of at least 1; there may be no vectors."""
    if array.ndim == 2 and array.shape[1]:
        return
    problem = f"{argument}: shape {array.shape}, expected {VECTORS}"
    if array.ndim == 2:
        raise LsamplerError(
            f"{problem}; 0 feature(s) (shape={array.shape}) while a minimum of 1 is required: give D columns"
        )
    if array.ndim == 1:
        advice = f"{argument}.reshape(-1, 1) for vectors of D = 1, or {argument}.reshape(1, -1) for a single vector"
        raise LsamplerError(f"{problem}; give {advice}")
    raise LsamplerError(f"{problem}; give one row for each vector")


def require_finite(
    array: NDArray[Any], argument: str, given: NDArray[Any] | None = None, columns: Sequence[str] | None = None
) -> None:
    """Raise LsamplerError if a number of the vectors (n, D) is NaN or infinite.

    Args:
        array: the vectors.
        argument: what messages call them.
        given: the same before they were rounded to single precision, if they were.
        columns: their names, if they have any.
    """
    for row in not_finite(array)[:1]:
        column = int(np.flatnonzero(~np.isfinite(array[row]))[0])
        value = (array if given is None else given)[row, column]
        what = "NaN" if np.isnan(value) else "an infinite value (inf)" if np.isinf(value) else f"{value:g}"
        fix = "scale them down" if np.isfinite(value) else "leave out such rows, or fill them"
        where = column if columns is None else repr(columns[column])
        raise LsamplerError(
            f"{argument}: row {row}, column {where} holds {what}, not a finite number of single precision; {fix}"
        )


def column_names(values: Any) -> Sequence[str] | None:
    """The names of a table's columns; None if it has none, or some are not texts."""
    columns = getattr(values, "columns", None)
    if columns is None or callable(columns):
        return None
    names = list(columns)
    return [str(name) for name in names] if names and all(isinstance(name, str) for name in names) else None


def not_finite(rows: NDArray[Any]) -> NDArray[np.intp]:
    """The numbers of the vectors (n, D) that hold NaN or infinite values."""
    finite = np.isfinite(rows)
    return np.flatnonzero([] if finite.all() else ~finite.all(axis=1))
