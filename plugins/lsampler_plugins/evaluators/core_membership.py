"""core-membership: the share of samples inside each core, nominal and calibrated."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError
from lsampler.plugins import load_core, offers, plugin_names
from lsampler.scoring import Core, Evaluator, Metric, RealData, Samples, Score, share_score


class CoreMembership(Evaluator):
    """Share of samples inside each core, at the posts' nominal level and calibrated on held-out data.

    In many dimensions a nominal level deceives: few of the real vectors are inside. The calibrated level holds a stated
    share of held-out real vectors. The range is 0 to 1. The real data's own share is the mark, since shrinking all
    samples to the centre scores 1.
    """

    name = "core-membership"

    share: float = Field(default=0.95, gt=0, lt=1, description="of held-out real vectors inside the calibrated core")

    _cores: list[tuple[Core, float, float | None]] = PrivateAttr(default_factory=list)
    _caveats: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        """Fit and calibrate every core that is installed; one that cannot be fitted is left out."""
        self._cores, self._caveats = [], []
        reference = real.reference
        for name in plugin_names("core"):
            try:
                core = load_core(name).fit(reference)
            except LsamplerError as error:
                self._caveats.append(f"no core '{name}': {error}")
                continue
            level = core.calibrated_level(reference, self.share)
            if level is None:
                self._caveats.append(
                    f"core '{name}' not calibrated: {reference.name} lacks the held-out vectors for it"
                )
            self._cores.append((core, core.nominal_level, level))
        if not self._cores:
            raise LsamplerError(self._caveats[0])

    def caveats(self) -> list[str]:
        return self._caveats

    def score(self, samples: Samples) -> list[Score]:
        scores = []
        for core, nominal, calibrated in self._cores:
            levels = core.levels(samples.latents)
            for kind, level, group in (
                ("nominal", nominal, "inside the core at its nominal level"),
                ("calibrated", calibrated, f"inside the core calibrated to hold {self.share:.0%} of real vectors"),
            ):
                if level is not None:
                    metric = Metric(
                        f"{core.name}/{kind}",
                        group=group,
                        label=f"{core.name}\n{level:.2f}",
                        better="real",
                        about=f"Share inside the core '{core.name}' at level {level:.2f}. {core.summary()}",
                    )
                    scores.append(share_score(metric, int(np.sum(levels <= level)), len(levels)))
        return scores

    def key_of(self, metric: str) -> str:
        """A score depends on the parameters of its core, too."""
        name = metric.partition("/")[0]
        return f"{self.key()} {load_core(name).key()}" if name in plugin_names("core") else self.key()

    def depends_on(self) -> Sequence[str]:
        return [load_core(name).digest() for name in plugin_names("core")]


lsampler_evaluators = offers(CoreMembership)
