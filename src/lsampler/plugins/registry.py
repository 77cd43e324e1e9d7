"""The registry of plugins, which are found through the entry-point group ``lsampler``."""

from __future__ import annotations

import functools
import itertools
import queue
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

import pluggy

from lsampler.errors import LsamplerError, PluginCrash, nearest_name, one_line, plugin_errors, printable
from lsampler.models.protocols import AutoencoderLoader
from lsampler.plugins import hookspecs
from lsampler.plugins.base import ENTRY_POINTS, Plugin, public_name
from lsampler.plugins.hookspecs import API_VERSION
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.core import Core
from lsampler.scoring.evaluator import Evaluator

OURS = "lsampler"
SECONDS = 20
"""How long the import and the hooks of a plugin of another package may take."""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
KINDS: dict[str, tuple[str, type[Plugin]]] = {
    "sampler": ("lsampler_samplers", LatentSampler),
    "core": ("lsampler_cores", Core),
    "evaluator": ("lsampler_evaluators", Evaluator),
    "autoencoder loader": ("lsampler_autoencoder_loaders", AutoencoderLoader),
}


@dataclass(frozen=True)
class FoundPlugin:
    """A class that a plugin offers, and the distribution that it came from."""

    kind: str
    name: str
    origin: str
    plugin: type[Plugin]


@dataclass(frozen=True)
class BrokenPlugin:
    """An entry point that could not be used, and why."""

    name: str
    origin: str
    reason: str

    def __str__(self) -> str:
        return f"plugin '{self.name}' from {self.origin} is broken: {self.reason}"


class Registry:
    """All plugins of an environment. A broken one is listed by name and reason, and does not affect the others.

    Entry points are loaded when they are needed: a plugin of lsampler's own is loaded alone, any other one with all.
    """

    def __init__(self, points: Iterable[tuple[str, EntryPoint]] = ()) -> None:
        self._waiting = list(points)
        self._found: list[FoundPlugin] = []
        self._broken: list[BrokenPlugin] = []

    @classmethod
    def from_entry_points(cls) -> Registry:
        """The entry points of every installed distribution, lsampler's own first."""
        points = [(_name(point.dist), point) for point in entry_points(group=ENTRY_POINTS)]
        return cls(sorted(points, key=lambda one: (one[0] != OURS, one[0], one[1].name)))

    @property
    def found(self) -> list[FoundPlugin]:
        """What the plugins offer."""
        self._load_all()
        return self._found

    @property
    def broken(self) -> list[BrokenPlugin]:
        """The entry points that could not be used."""
        self._load_all()
        return self._broken

    def _load_all(self) -> None:
        if self._waiting:
            loaded = Registry()  # so that none is lost if this is interrupted or called in two threads
            for origin, point in self._waiting:
                loaded._load(point, origin)
            self._found, self._broken, self._waiting = loaded._found, loaded._broken, []

    def _load(self, point: EntryPoint, origin: str) -> None:
        self._add(point.name, origin, lambda: _offered(point.load, point.name, origin))

    def register(self, module: object, name: str, origin: str) -> None:
        """Add the classes that one plugin module (or object) offers, or list it as broken."""
        self._load_all()
        self._add(name, origin, lambda: _offered(lambda: module, name, origin))

    def _add(self, name: str, origin: str, offered: Callable[[], list[FoundPlugin]]) -> None:
        try:
            found = list(self._found)  # so that a plugin that breaks a rule half-way offers nothing
            for plugin in offered() if origin == OURS else _in_time(offered):
                found.append(_checked(plugin, found))
            self._found = found
        except LsamplerError as error:
            reason = one_line(error.__cause__ or error) if isinstance(error, PluginCrash) else str(error)
            self._broken.append(BrokenPlugin(name, origin, printable(reason)))

    def of_kind(self, kind: str) -> dict[str, FoundPlugin]:
        """All plugins of a kind by name."""
        return {found.name: found for found in self.found if found.kind == kind}

    def get(self, kind: str, name: str) -> type[Any]:
        """The class of that name.

        Raises:
            LsamplerError: there is none; the message suggests the nearest name, or says why the
                plugin of that name is broken.
        """
        own = self._own(kind, name)
        known = {name: own} if own else self.of_kind(kind)
        if name in known:
            return known[name].plugin
        self.refuse_broken(name)
        raise LsamplerError(f"no {kind} '{name}'{nearest_name(name, known)}; see 'lsampler plugins'")

    def refuse_broken(self, name: str) -> None:
        """Raise LsamplerError with the reason if the plugin of that name is broken."""
        for broken in self.broken:
            if broken.name == name:
                raise LsamplerError(str(broken))

    def _own(self, kind: str, name: str) -> FoundPlugin | None:
        """The plugin of lsampler's own entry point of that name; these come first, so that no other can take it."""
        alone = Registry()
        for origin, point in self._waiting:
            if (origin, point.name) == (OURS, name):
                alone._load(point, origin)
        return alone.of_kind(kind).get(name)


def _offered(point: Callable[[], object], name: str, origin: str) -> list[FoundPlugin]:
    """What the module of a plugin offers. Raises LsamplerError if it cannot be imported, or breaks a rule."""
    with plugin_errors("loading"):
        module = point()
        _check_api(module)
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(module, name)
        manager.check_pending()
        found = [
            FoundPlugin(kind, getattr(plugin, "name", ""), origin, plugin)
            for kind, (hook, _) in KINDS.items()
            for plugin in itertools.chain.from_iterable(getattr(manager.hook, hook)())
        ]
        if not found:
            raise LsamplerError("offers nothing; end it with a line such as lsampler_samplers = offers(MyStrategy)")
    return found


def _in_time(offered: Callable[[], list[FoundPlugin]]) -> list[FoundPlugin]:
    """What is offered within some time; a plugin that never ends its import or its hook is left to its thread."""
    ended: queue.SimpleQueue[list[FoundPlugin] | LsamplerError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            ended.put(offered())
        except BaseException as error:  # which would end this thread without an answer
            ended.put(error if isinstance(error, LsamplerError) else LsamplerError(one_line(error)))

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = ended.get(timeout=SECONDS)
    except queue.Empty:
        raise LsamplerError(f"did not end its import or its hook within {SECONDS} seconds; uninstall it") from None
    if isinstance(found, LsamplerError):
        raise found
    return found


def _checked(offered: FoundPlugin, before: Iterable[FoundPlugin]) -> FoundPlugin:
    kind, name, plugin, base = offered.kind, offered.name, offered.plugin, KINDS[offered.kind][1]
    if not (isinstance(plugin, type) and issubclass(plugin, base)):
        raise LsamplerError(f"{plugin!r} is not a subclass of {public_name(base)}")
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise LsamplerError(f"{plugin.__name__}.name is {name!r}; use lower case with hyphens")
    taken = next((other for other in before if (other.kind, other.name) == (kind, name)), None)
    if taken:
        raise LsamplerError(f"the {kind} name '{name}' is taken by {taken.origin}; choose another")
    return offered


def _check_api(module: object) -> None:
    hooks = [getattr(module, name) for name in dir(module) if name.startswith("lsampler_")]
    stated = {getattr(hook, "lsampler_api", None) for hook in hooks} - {None}
    for version in stated or {getattr(module, "LSAMPLER_API", None)}:
        if version is None:
            raise LsamplerError(
                "does not state the plugin API that it was written for; implement its hook with "
                f"lsampler.plugins.offers, or add LSAMPLER_API = {API_VERSION} to the module"
            )
        if version != API_VERSION:
            raise LsamplerError(
                f"was written for plugin API {version}, this lsampler has {API_VERSION}; "
                "install versions of the plugin and of lsampler that fit each other"
            )


@functools.cache
def _name(distribution: Distribution | None) -> str:
    return distribution.name if distribution else "unknown"  # it reads the whole metadata every time


@functools.cache
def registry() -> Registry:
    """The plugins of this environment, found once. ``registry.cache_clear()`` discards them."""
    return Registry.from_entry_points()
