"""Optional dependencies: one function imports them, or says how to install what is missing."""

from __future__ import annotations

import importlib
from typing import Any

from lsampler.errors import LsamplerError


def require_extra(module: str, *, extra: str, user: str) -> Any:
    """Import a module of a package that is installed with an extra of lsampler.

    Args:
        module: the name to import, such as ``pyarrow.parquet``.
        extra: the extra that installs it.
        user: what needs it, as the message names it: a plugin, a file or an argument.

    Raises:
        LsamplerError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".", 1)[0]
        raise LsamplerError(f"{user} needs {package}; install it with: pip install 'lsampler[{extra}]'") from error
