"""Templates of a new plugin's package, and the function that fills them in."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from string import Template

from lsampler._version import __version__
from lsampler.errors import LsamplerError
from lsampler.files import new_directory
from lsampler.plugins.registry import NAME, registry

FILES = {
    "pyproject.toml": "pyproject.toml.in",
    "README.md": "README.md.in",
    "{module}.py": "module.py.in",
    "tests/test_{module}.py": "test_module.py.in",
}


def new_plugin(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Write an installable package with one strategy that works and passes its tests as it is.

    Args:
        name: the strategy's name, in lower case with hyphens.
        folder: the folder to write; by default ``lsampler-NAME`` in the current folder.

    Returns:
        The folder.

    Raises:
        LsamplerError: the name is not allowed or taken, or the folder exists.
    """
    if not NAME.fullmatch(name):
        raise LsamplerError(f"plugin name '{name}': use lower case with hyphens, such as my-strategy")
    taken = registry().of_kind("sampler").get(name)
    if taken:
        raise LsamplerError(f"plugin name '{name}' is taken by {taken.origin}; choose another")
    module = f"lsampler_{name.replace('-', '_')}"
    words = {
        "name": name,
        "module": module,
        "strategy": "".join(part.capitalize() for part in name.split("-")),
        "version": __version__,
    }
    target = Path(folder) if folder is not None else Path(f"lsampler-{name}")
    if target.exists():
        raise LsamplerError(f"{target}: exists already; give another `folder=...`")
    templates = resources.files(__package__)
    with new_directory(target) as beside:
        for path, template in FILES.items():
            written = beside / path.format(module=module)
            written.parent.mkdir(exist_ok=True)
            written.write_text(Template((templates / template).read_text("utf-8")).substitute(words), "utf-8")
    return target
