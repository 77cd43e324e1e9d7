"""What lower layers find by name in higher ones: bundles, and plugins.

The layer that knows the names provides a function here when its package is imported, which ``import lsampler`` does.
What is found is imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Finder = Callable[..., Any]
_finders: dict[str, Finder] = {}


def provide(what: Literal["bundle", "plugin"], finder: Finder) -> None:
    """Let names be found.

    Args:
        what: ``bundle`` or ``plugin``.
        finder: from a bundle's name or file to the bundle, or None if it is neither; or from a base class and a name to
            the class of the plugin. It raises LsamplerError for an unknown name.
    """
    _finders[what] = finder


def find_bundle(name: str) -> Any:
    """The bundle of that name or in that file; None if it is neither."""
    return _finders["bundle"](name)


def find_plugin(base: type[Any], name: str) -> type[Any]:
    """The plugin class of that name, a subclass of ``base``. Raises LsamplerError if there is none."""
    found: type[Any] = _finders["plugin"](base, name)
    return found
