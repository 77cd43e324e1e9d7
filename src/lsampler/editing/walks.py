"""Walks: paths from item to item, straight or along the sphere, in whitened coordinates."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lsampler.editing.paths import LatentPaths
from lsampler.editing.stops import stops_of
from lsampler.errors import LsamplerError, nearest_name
from lsampler.scoring.subject import as_subject

WalkKind = Literal["spherical", "linear"]
MOST_STEPS = 10_000
MOST_VECTORS = 1 << 20
TINY = 1e-3
"""Radians by which directions have to differ from equal and from opposite ones, to have an arc between them; and the
share of the one radius that the other has to exceed, to have a direction."""

Rows = NDArray[np.float64]


def walk(latents: Any, stops: Any, *, kind: WalkKind = "spherical", steps: int = 8, loop: bool = False) -> LatentPaths:
    """A path from item to item.

    ``linear`` leads straight from one to the next. In many dimensions such a line dips towards the centre, where no
    data are. ``spherical`` turns the direction from the mean at constant speed, in whitened coordinates, along the arc
    between the two (slerp, Shoemake 1985), while the distance from the mean goes evenly from that of the one to that of
    the other: the path stays at the data's own radius. Opposite directions, between which no arc is the shortest, are
    joined straight.

    Args:
        latents: a bundle or its name, a store, or a :class:`lsampler.scoring.Subject`.
        stops: two or more items, given as those of :func:`edit`: photos, ids, a store, samples (n, D).
        kind: spherical or linear.
        steps: from each stop to the next.
        loop: return from the last stop to the first; the last step is then the one before the first stop.

    Raises:
        LsamplerError: fewer than two stops, an unknown kind, or stops that cannot be read.
    """
    if kind not in get_args(WalkKind):
        raise LsamplerError(f"`kind={kind}` is unknown{nearest_name(str(kind), get_args(WalkKind))}")
    if not 1 <= steps <= MOST_STEPS:
        raise LsamplerError(f"`steps={steps}`: give the steps from each stop to the next, 1 to {MOST_STEPS:,}")
    subject = as_subject(latents)
    found = stops_of(subject, stops)
    if len(found.latents) < 2:
        raise LsamplerError(f"{found.ids[0]}: is the only stop; a walk leads from one to another, so name at least two")
    points = np.concatenate([found.latents, found.latents[:1]]) if loop else found.latents
    if len(points) * steps > MOST_VECTORS:
        raise LsamplerError(f"`steps={steps}`: {len(points) * steps:,} steps in all; give at most {MOST_VECTORS:,}")
    statistics = subject.reference.statistics()
    whitening = statistics.whitening(max(statistics.pca.rank, 1))
    white = whitening.forward(points.astype(np.float64))
    beside = points - whitening.back(white)  # what lies in directions in which the data do not vary
    shares = np.arange(steps) / steps
    legs = [
        whitening.back(between(white[i], white[i + 1], shares, kind)) + _straight(beside[i], beside[i + 1], shares)
        for i in range(len(points) - 1)
    ]
    path = np.concatenate([*legs, points[-1:]]).astype(np.float32)
    path[::steps] = points  # exactly, not up to rounding
    path = path[:-1] if loop else path
    text = f"{kind} walk" + (", closed" if loop else "")
    called = " - ".join(found.ids[:3]) + (f" and {len(found.ids) - 3} more" if len(found.ids) > 3 else "")
    return LatentPaths(path[np.newaxis], (called,), text, subject, columns=steps + 1, closed=loop, notes=found.notes)


def between(start: Rows, end: Rows, shares: Rows, kind: WalkKind = "spherical") -> Rows:
    """Points (n, q) from one whitened vector (q,) to another, at these shares (n,) of the way."""
    radii = np.linalg.norm(start), np.linalg.norm(end)
    if kind == "linear" or min(radii) <= TINY * max(radii):
        return _straight(start, end, shares)
    one, other = start / radii[0], end / radii[1]
    angle = 2 * np.arctan2(np.linalg.norm(one - other), np.linalg.norm(one + other))
    if not TINY < angle < np.pi - TINY:
        return _straight(start, end, shares)
    t = shares[:, np.newaxis]
    directions = (np.sin((1 - t) * angle) * one + np.sin(t * angle) * other) / np.sin(angle)
    found: Rows = directions * (radii[0] + t * (radii[1] - radii[0]))
    return found


def _straight(start: Rows, end: Rows, shares: Rows) -> Rows:
    found: Rows = start + shares[:, np.newaxis] * (end - start)
    return found
