"""How far labels that were not asked for moved under a condition, as probes read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import shortened
from lsampler.scoring import Metric, Probe, Score, bootstrap_score, labelled_rows, normal_score, probes_of

GROUP = "labels that were not asked for"
ENTANGLED = Metric(
    "condition-entanglement",
    group=GROUP,
    label="moved\non average",
    better="lower",
    about="How far what is read of the other labels lies from what is read on real vectors, averaged over labels: of "
    "shares, and for numbers of means in units of their spread. 0 or above, lower is better. Chance moves labels too: "
    "see the note and the held-out row. It sees what linear probes see.",
)
FARTHEST = Metric(
    "condition-moved-most",
    group=GROUP,
    label="moved\nmost",
    better="lower",
    about="The largest of these movements, and whose it is. Chance makes the largest of many labels larger than the "
    "average: see the held-out row.",
)
ABOUT_ONE = (
    "Share of samples on which the probe reads this label, less that of real vectors; of a number the difference of "
    "means in units of its spread, of several levels half the sum of differences. Chance alone makes it about as large "
    "as in the held-out row."
)


@dataclass(frozen=True)
class OtherLabels:
    """What is read of some labels on real vectors, with which samples are compared.

    Attributes:
        probes: of the labels.
        expected: for each label the means (k,) of what is read on real train vectors.
        spread: their standard deviations (k,).
        rows: how many real vectors these are.
    """

    probes: Mapping[str, Probe]
    expected: Mapping[str, NDArray[np.float64]]
    spread: Mapping[str, NDArray[np.float64]]
    rows: int

    @classmethod
    def of(cls, reference: Any, names: Sequence[str]) -> "OtherLabels | None":
        """What is expected of labels under the condition of a reference; None if no label has a probe.

        With others=independent labels are expected as on all train vectors, otherwise as on those that fulfil the
        condition.
        """
        probes = probes_of(reference.whole, names, strict=False)
        if not probes:
            return None
        ways = reference.conditions
        alone = ways.others == "independent" and ways.by != "subset"
        latents, _ = labelled_rows(reference.whole if alone else reference, "train")
        read = {name: _indicators(probe, latents) for name, probe in probes.items()}
        means = {name: columns.mean(axis=0) for name, columns in read.items()}
        return cls(probes, means, {name: columns.std(axis=0) for name, columns in read.items()}, len(latents))

    def scores(self, latents: NDArray[Any], seed: int) -> list[Score]:
        """The mean movement of vectors (n, D), and that of each label."""
        read = {name: _indicators(probe, latents) for name, probe in self.probes.items()}
        n, moved = len(latents), {name: self._moved(name, columns.mean(axis=0)) for name, columns in read.items()}

        def average(rows: NDArray[np.int64]) -> float:
            return float(
                np.mean([abs(self._moved(name, columns[rows].mean(axis=0))) for name, columns in read.items()])
            )

        errors = {name: self._error(name, columns) for name, columns in read.items()}
        chance = float(np.mean([np.sqrt(2 / np.pi) * self._error(name, None, n) for name in moved]))
        whole = replace(bootstrap_score(ENTANGLED, average, n, seed=seed), note=f"chance {chance:.3f}")
        most = max(moved, key=lambda name: abs(moved[name]))
        way = "" if len(self.expected[most]) > 1 else " up" if moved[most] > 0 else " down"
        note = f"{shortened(most, 30)}{way}"
        farthest = replace(normal_score(FARTHEST, abs(moved[most]), errors[most], n), note=note)
        each = [normal_score(metric, moved[name], errors[name], n) for name, metric in self._metrics().items()]
        return [*(replace(one, low=max(one.low, 0.0)) for one in (whole, farthest)), *each]

    def _moved(self, name: str, means: NDArray[np.float64]) -> float:
        """The movement of one label: the difference of its mean or, of several levels, half the sum of theirs."""
        difference = means - self.expected[name]
        return float(difference[0]) if len(difference) == 1 else float(np.abs(difference).sum() / 2)

    def _error(self, name: str, read: NDArray[np.float64] | None, n: int = 1) -> float:
        """The standard error of a movement; without what was read, that of as many further real vectors."""
        known = self.spread[name]
        own, n = (known, n) if read is None else (read.std(axis=0), len(read))
        error = np.sqrt(own**2 / n + known**2 / self.rows)
        return float(error[0]) if len(error) == 1 else float(np.sqrt((error**2).sum()) / 2)

    def _metrics(self) -> dict[str, Metric]:
        """What is measured of each label, by its name."""
        found: dict[str, Metric] = {}
        taken: set[str] = set()
        for place, name in enumerate(self.probes):
            plain = "moved/" + "_".join(name.split())
            metric = plain if plain not in taken else f"{plain}-{place}"
            taken.add(metric)
            found[name] = Metric(metric, group=GROUP, label=name, better="real", about=ABOUT_ONE, detail=True)
        return found


def _indicators(probe: Probe, latents: NDArray[Any]) -> NDArray[np.float64]:
    """What is read on vectors, as columns (n, k) whose means are compared: 0 or 1, or numbers in units of spread."""
    if probe.label.kind == "continuous":
        return probe.standardised(latents)
    read = probe.read(latents)
    if probe.label.kind == "binary":
        return read[:, np.newaxis]
    found: NDArray[np.float64] = (read[:, np.newaxis] == probe.codes).astype(np.float64)
    return found
