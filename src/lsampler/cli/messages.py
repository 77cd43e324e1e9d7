"""Messages of the library in the words of the command line: Python arguments become options."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["in_options"]

ARGUMENT = re.compile(r"`([a-z_]+)=([^`]*)`")
RENAMED = {"reference": "store", "latents": "store", "autoencoder": "model", "address": "cluster"}


def in_options(message: str, options: Collection[str], loader_parameters: Collection[str] = ()) -> str:
    """Translate arguments such as ```held_out=100``` into options such as ``--held-out 100``.

    Args:
        message: of the library; it names arguments in backticks, with ``...`` for a value that the user chooses.
        options: names of the parameters of the command that failed, such as ``held_out``.
        loader_parameters: names that belong to ``--model-param`` and not to ``--param``.
    """

    def translated(found: re.Match[str]) -> str:
        name, value = found.groups()
        option = name if name in options else RENAMED.get(name, name)
        if option in options:
            flag = "--" + option.replace("_", "-")
            return flag if value in ("...", "True") else f"{flag} {value}"
        setting = f"{name}={value}"
        if name in loader_parameters and "model_param" in options:
            return f"--model-param {setting}"
        return f"--param {setting}" if "param" in options else setting

    return ARGUMENT.sub(translated, message)
