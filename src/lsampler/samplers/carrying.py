"""Which fitted state of a reference a strategy takes, instead of fitting itself."""

from __future__ import annotations

import contextlib
from typing import Any

from lsampler.errors import LsamplerError
from lsampler.plugins.base import Plugin
from lsampler.store.carried_state import CarriedState, as_argument
from lsampler.store.reference import Reference


def carried_state(strategy: Plugin, reference: Reference, *, needs_latents: bool) -> CarriedState | None:
    """The state that a bundle carries for exactly the strategy's parameters; None if it can be fitted instead.

    Raises:
        LsamplerError: the strategy needs latent vectors, the reference has none, and it carries no such state.
    """
    own, others = strategy.settings(), []
    for carried in reference.carried(strategy.name):
        settings = _all_settings(strategy, carried)
        if settings == own:
            return carried
        others += [settings] if settings else []
    if reference.has_latents or not needs_latents:
        return None
    if others:
        given = " and ".join(as_argument(key, value) for key, value in others[0].items() if own[key] != value)
        raise LsamplerError(
            f"{strategy.name}: {reference.name} carries it with {given}; give that, or `store=...` for other parameters"
        )
    raise LsamplerError(
        f"{strategy.name} needs latent vectors, {reference.name} holds statistics only; give `store=...`, "
        f"or take {reference.recommendation().arguments}"
    )


def _all_settings(strategy: Plugin, carried: CarriedState) -> dict[str, Any] | None:
    """All parameters of a carried strategy; None if the installed one does not have them."""
    with contextlib.suppress(LsamplerError):
        return type(strategy)(**carried.parameters).settings()
    return None
