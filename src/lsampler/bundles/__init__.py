"""Bundles: a trained autoencoder with its statistics and calibration in one file, and the bundled models."""

from __future__ import annotations

from typing import Any

import lazy_loader

from lsampler.lookups import provide


def _find(name: str) -> Any:
    from lsampler.bundles.bundle import find_bundle

    return find_bundle(name)


provide("bundle", _find)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
