"""The error of a plugin that is used before it is fitted; a module of its own, because it imports scikit-learn."""

from __future__ import annotations

from sklearn.exceptions import NotFittedError

from lsampler.errors import LsamplerError


class NotFitted(LsamplerError, NotFittedError):  # type: ignore[misc]  # noqa: N818
    """A strategy or core is used before ``fit()``; scikit-learn knows it as its NotFittedError."""
