"""The cores that are installed, fitted to the reference: how many vectors are inside each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.plugins.loading import load_core, plugin_names
from lsampler.reports.analysis.context import Context
from lsampler.scoring.core import Core


@dataclass(frozen=True)
class FittedCore:
    """A fitted core, and its level that holds 95 % of held-out data, if there are held-out vectors."""

    name: str
    core: Core
    calibrated: float | None

    @property
    def level(self) -> float:
        """The calibrated level, or the nominal one."""
        return self.core.nominal_level if self.calibrated is None else self.calibrated

    def inside(self, latents: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the latent vectors (n, D) are inside."""
        return self.core.levels(latents) <= self.level


def fitted_cores(context: Context) -> list[FittedCore]:
    """Every core that can be fitted."""
    cores = []
    for name in plugin_names("core"):
        try:
            core = load_core(name).fit(context.reference)
        except LsamplerError:
            continue
        cores.append(FittedCore(name, core, core.calibrated_level(context.reference)))
    return cores
