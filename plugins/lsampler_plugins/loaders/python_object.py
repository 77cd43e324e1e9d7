"""python-object: whatever a Python function of the user returns; it runs the user's code."""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from lsampler import LsamplerError
from lsampler.errors import nearest_name
from lsampler.models import AdaptedAutoencoder, Autoencoder, ForeignLoader, item_of, module_digest
from lsampler.plugins import offers

SPEC = re.compile(r"(?P<source>[^:]+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)")


class PythonObject(ForeignLoader):
    """MODULE:CALLABLE or FILE.py:CALLABLE: what it returns when called; this runs the code of that module.

    The callable takes no arguments and returns either an object that is an ``lsampler.models.Autoencoder``
    already, which is used as it is; or a module or other object with ``encode`` and ``decode``; or a pair of
    modules or functions, encoder and decoder. If an encoder returns a tuple, its first element is the mean. Modules
    are put in evaluation mode and single precision; their weights are their fingerprint. An object without weights
    needs an attribute ``fingerprint``, a text.
    """

    name = "python-object"

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Accept these forms, and a .py file alone, for which the message says what is missing."""
        return SPEC.fullmatch(spec) is not None or spec.endswith(".py")

    def load(self, spec: str) -> Autoencoder:
        """Import, call, and adapt what comes back. Raises LsamplerError with the reason if any of it fails."""
        parts = SPEC.fullmatch(spec)
        if parts is None:
            raise LsamplerError(f"model '{spec}': name the function that makes the model, such as {spec}:make")
        made = _made(spec, **parts.groupdict())
        if isinstance(made, Autoencoder):
            return self._as_it_is(spec, made)
        encode, decode, owners = _encoder_and_decoder(spec, made)
        digest = _digest(spec, owners)
        for owner in owners:
            if isinstance(owner, nn.Module):
                owner.eval().float().to("cpu")
        movable = all(callable(getattr(owner, "to", None)) for owner in owners)
        return self.adapt(spec, encode, decode, digest=digest, weights=owners if movable else ())

    def _as_it_is(self, spec: str, made: Autoencoder) -> Autoencoder:
        """Check settings and members, and send a probe through."""
        for key in self.model_dump(exclude_defaults=True):
            raise LsamplerError(f"`{key}=...`: {spec} says itself what its items are; leave it out")
        item = item_of(made)
        if not (isinstance(made.fingerprint, str) and made.fingerprint):
            raise LsamplerError(f"{spec}: its fingerprint is not a text")
        if isinstance(made, nn.Module):
            made.eval()
        plain = replace(item, value_range=(0.0, 1.0))  # what an lsampler.models.Autoencoder takes
        probed = AdaptedAutoencoder(spec, made.encode, made.decode, item=plain, fingerprint=made.fingerprint)
        if probed.latent_shape != (made.dimension,):
            raise LsamplerError(
                f"{spec}: encode gives vectors of shape {probed.latent_shape}, but its dimension is {made.dimension}"
            )
        return made


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the modules of a folder be imported."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _executed(path: Path) -> ModuleType:
    if not path.is_file():
        raise LsamplerError(f"{path}: no such Python file; check the path")
    # Not under its own name: a file called test.py must not replace a module.
    name = f"_lsampler_model_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LsamplerError(f"{path}: cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and TorchScript look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _imported(source: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name and (source == error.name or source.startswith(f"{error.name}.")):
            raise LsamplerError(
                f"model '{source}:...': there is no module {error.name}; install it, run from its folder, or give its "
                "file as FILE.py:CALLABLE"
            ) from error
        raise


def _made(spec: str, source: str, name: str) -> Any:
    """Return what the user's callable returns, or the object itself if it is a model already."""
    step, path = "importing it", Path(source) if source.endswith(".py") else None
    try:
        with _importable(path.absolute().parent if path else Path.cwd()):
            found: Any = _executed(path) if path else _imported(source)
            for part in name.split("."):
                if not hasattr(found, part):
                    public = [known for known in dir(found) if not known.startswith("_")]
                    raise LsamplerError(f"model '{spec}': has no '{part}'{nearest_name(part, public)}")
                found = getattr(found, part)
            if isinstance(found, (nn.Module, Autoencoder)) and not isinstance(found, type):
                return found
            if not callable(found):
                kind = type(found).__name__
                raise LsamplerError(f"model '{spec}': {name} is of type {kind}; name a function or a class")
            step = f"calling {name}()"
            return found()
    except LsamplerError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may fail in any way
        raise LsamplerError(f"model '{spec}': {step} failed: {_reason(error)}") from error


def _encoder_and_decoder(spec: str, made: Any) -> tuple[Any, Any, list[Any]]:
    """Return encoder, decoder, and the objects that hold their weights."""
    if isinstance(made, (tuple, list)):
        if len(made) != 2 or not all(map(callable, made)):
            kinds = ", ".join(type(part).__name__ for part in made)
            raise LsamplerError(f"{spec}: returned ({kinds}), expected a pair of modules or functions")
        # The weights of a bound method are those of its object.
        owners = [getattr(part, "__self__", part) for part in made]
        return made[0], made[1], owners
    missing = [name for name in ("encode", "decode") if not callable(getattr(made, name, None))]
    if missing:
        raise LsamplerError(
            f"{spec}: returned a {type(made).__name__} without {' and '.join(missing)}; return an object with encode "
            "and decode, or a pair such as (model.encoder, model.decoder)"
        )
    return made.encode, made.decode, [made]


def _digest(spec: str, owners: list[Any]) -> str:
    parts = []
    for owner in owners:
        own = getattr(owner, "fingerprint", None)
        if isinstance(own, str) and own:
            parts.append(own)
        elif isinstance(owner, nn.Module) and owner.state_dict():
            parts.append(module_digest([owner]))
        else:
            raise LsamplerError(
                f"{spec}: {type(owner).__name__} is not an nn.Module with weights; "
                "give it an attribute fingerprint, a text that changes with its weights"
            )
    return " ".join(parts)


def _reason(error: BaseException) -> str:
    """Kind, first line, and place in the user's code, instead of a traceback."""
    text = (str(error).strip().splitlines() or [""])[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    known = isinstance(error, SyntaxError) or place.filename == __file__
    return f"{type(error).__name__}: {text}" + ("" if known else f" ({Path(place.filename).name}, line {place.lineno})")


lsampler_autoencoder_loaders = offers(PythonObject)
