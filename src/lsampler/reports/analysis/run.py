"""Runs the sections, keeps what is finished, and writes the report."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lsampler._version import __version__
from lsampler.errors import LsamplerError, nearest_name
from lsampler.plugins.loading import load_sampler, plugin_names
from lsampler.progress import Progress
from lsampler.reports.analysis import (
    components,
    correlations,
    cubes,
    filaments,
    gaussianity,
    generated,
    origin,
    principal,
    tsne,
)
from lsampler.reports.analysis.context import STATISTICS_ONLY, Context, Options
from lsampler.reports.analysis.report import Report, Written
from lsampler.reports.analysis.section import Result, Section
from lsampler.reports.analysis.verdicts import Verdict, judge
from lsampler.reports.content_digest import content_digest
from lsampler.reports.pages import plain
from lsampler.samplers.base import LatentSampler
from lsampler.statistics.passes import in_double_precision
from lsampler.store.opening import ReferenceLike, as_reference

__all__ = ["DEFAULT_STRATEGIES", "SECTIONS", "Analysis", "analyze", "section_keys"]

SECTIONS: tuple[Section, ...] = tuple(
    module.SECTION
    for module in (
        components, correlations, origin, cubes, gaussianity, principal, generated, filaments, tsne,
    )
)  # fmt: skip
FEWEST = 20
DEFAULT_STRATEGIES = ("uniform-cube", "component-uniform", "gaussian", "multivariate-normal", "pca-ellipse")


@dataclass(frozen=True)
class Analysis:
    """What an analysis found.

    Attributes:
        reference: the name of what was analysed.
        measured: by section, every number as plain values; the same as in ``analysis.json``.
        problems: by section that could not be done at all, the reason.
        verdicts: the posts' statements and whether they hold here.
        reused: sections that an earlier run into the same folder had finished.
    """

    reference: str
    measured: Mapping[str, Mapping[str, Any]]
    problems: Mapping[str, str]
    verdicts: Sequence[Verdict]
    reused: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "lsampler": __version__,
            "reference": self.reference,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "problems": dict(self.problems),
            "sections": {key: dict(values) for key, values in self.measured.items()},
        }


def section_keys() -> list[str]:
    """The names of all sections, in their order."""
    return [section.key for section in SECTIONS]


@in_double_precision()
def analyze(
    latents: ReferenceLike,
    out: str | os.PathLike[str] | None = None,
    *,
    sections: Iterable[str] | None = None,
    bin_width: float | None = None,
    threshold: float = 0.5,
    pairs: Iterable[tuple[int, int]] = (),
    strategies: Iterable[str | LatentSampler] = DEFAULT_STRATEGIES,
    trim: float | None = 1.7,
    tsne: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Analysis:
    """Analyse how an encoder fills its latent space, by the methods of the posts.

    Args:
        latents: a store, a bundle (what its statistics allow), or an array (N, D).
        out: folder for the report: ``index.html``, ``analysis.json``, and a folder of figures and
            tables for each section. A report that is there is completed: sections whose latents
            and options have not changed are kept. None writes nothing.
        sections: which, by name; by default all, ``tsne`` only if ``tsne`` is given.
        bin_width: of the number densities, in latent units; by default 0.25 for latents of unit
            spread, in proportion (by a power of two) for others.
        threshold: pairs with |r| above it are listed, 0 to 1.
        pairs: planes around the origin; by default the strongest pairs and the farthest components.
        strategies: whose vectors are shown, as names or samplers.
        trim: before PCA, leave out vectors beyond this many half-widths; None keeps all.
        tsne: how many vectors to map by t-SNE (extra ``tsne``; minutes).
        seed: of all that is drawn.
        progress: shows the advance.

    Raises:
        LsamplerError: an unknown section or strategy, an option out of range, latents with NaN or
            fewer than 20 vectors, a constant component, or a folder that holds something else.
    """
    reference = as_reference(latents)
    samplers = tuple(load_sampler(entry) if isinstance(entry, str) else entry for entry in strategies)
    options = Options(
        bin_width=None if bin_width is None else float(bin_width),
        threshold=float(threshold),
        pairs=tuple(map(_pair, pairs)),
        strategies=samplers,
        trim=None if trim is None else float(trim),
        seed=int(seed),
        tsne=None if tsne is None else int(tsne),
    )
    _check(options, reference.dimension)
    chosen = _chosen(sections, tsne)
    report = Report(Path(out), reference.name) if out is not None else None
    context = Context(reference, options)
    if context.count < FEWEST:
        raise LsamplerError(f"{reference.name}: {context.count} vectors are too few to analyse; give at least {FEWEST}")
    context.statistics.require_spread()  # NaN, too few vectors, a constant component: the first thing to say
    return _analysed(context, chosen, report, progress)


def _analysed(
    context: Context, chosen: Sequence[Section], report: Report | None, progress: Progress | None
) -> Analysis:
    """The sections, one after the other; the report is whole after each."""
    name, origin_of = context.reference.name, ""
    if report:
        origin_of = content_digest(context.reference, progress)
        report.begin(section_keys())
    keys = {section.key: _key(section, context.options, origin_of) for section in SECTIONS}
    reused: list[str] = []
    kept: list[Written] = []
    for place, section in enumerate(chosen, 1):
        done = report.finished(section, keys[section.key]) if report else None
        if done is not None:
            reused.append(section.key)
        else:
            complete = context.follow(progress, f"{place}/{len(chosen)} {section.title}", _work(section, context))
            done = _run(section, context, report, keys[section.key])
            complete()
        kept.append(done)
        if report:
            _write(report, name, kept, [report.finished(s, keys[s.key]) for s in SECTIONS])
    return _summary(name, kept, reused)


def _summary(name: str, done: Sequence[Written], reused: Sequence[str] = ()) -> Analysis:
    measured = {written.section.key: written.measured for written in done if not written.problem}
    problems = {written.section.key: written.problem for written in done if written.problem}
    return Analysis(name, measured, problems, _verdicts(measured, problems), reused)


def _write(report: Report, name: str, done: Sequence[Written], before: Sequence[Written | None]) -> None:
    """The page of all that is finished: in this run, or in an earlier one with the same latents and options."""
    known = {written.section.key: written for written in [*filter(None, before), *done]}
    written = [known[key] for key in section_keys() if key in known]
    report.write(_summary(name, written).as_dict(), written)


def _run(section: Section, context: Context, report: Report | None, key: str) -> Written:
    """One section: measured, and written where a report is wanted."""
    problem = None
    result = Result({})
    if section.needs_latents and not context.has_latents:
        problem = f"The section {STATISTICS_ONLY}; give a store."
    else:
        try:
            result = section.run(context)
        except LsamplerError as error:
            problem = str(error)
    if report is None:
        return Written(section, key, plain(result.measured), problem)
    return report.keep(section, key, result, problem)


def _verdicts(measured: Mapping[str, Mapping[str, Any]], problems: Mapping[str, str]) -> list[Verdict]:
    absent = {key: f"The section '{key}' was not run." for key in section_keys() if key not in measured}
    return judge(measured, {**absent, **problems})


def _work(section: Section, context: Context) -> int:
    return max(1, section.passes) * context.count


def _key(section: Section, options: Options, origin_of: str) -> str:
    """Changes when the section has to be done again."""
    parts = [__version__, section.key, origin_of, {name: options.plain(name) for name in section.uses}]
    if section.uses_cores:
        parts.append(plugin_names("core"))
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _chosen(names: Iterable[str] | None, tsne: int | None) -> list[Section]:
    if names is None:
        return [section for section in SECTIONS if section.key != "tsne" or tsne is not None]
    wanted = list(names)
    if not wanted:
        raise LsamplerError(f"no section chosen; there are {', '.join(section_keys())}")
    for name in wanted:
        if name not in section_keys():
            raise LsamplerError(
                f"no section '{name}'{nearest_name(name, section_keys())}; there are {', '.join(section_keys())}"
            )
    return [section for section in SECTIONS if section.key in wanted]


def _pair(pair: Sequence[int]) -> tuple[int, int]:
    if len(pair) != 2:
        raise LsamplerError(f"pair {tuple(pair)}: give two components, such as (118, 164)")
    return int(pair[0]), int(pair[1])


def _check(options: Options, dimension: int) -> None:
    if options.bin_width is not None and not 0 < options.bin_width < math.inf:
        raise LsamplerError(f"bin_width={options.bin_width}: give a number above 0")
    if not 0 < options.threshold < 1:
        raise LsamplerError(f"threshold={options.threshold}: give a number between 0 and 1")
    if options.trim is not None and not 0 < options.trim < math.inf:
        raise LsamplerError(f"trim={options.trim}: give a number of half-widths above 0")
    if options.tsne is not None and options.tsne < 1:
        raise LsamplerError(f"tsne={options.tsne}: give the number of vectors to map")
    if options.seed < 0:
        raise LsamplerError(f"seed={options.seed}: give a number of at least 0")
    for pair in options.pairs:
        if len(set(pair)) != 2 or not all(0 <= j < dimension for j in pair):
            raise LsamplerError(f"pair {pair[0]},{pair[1]}: give two different components from 0 to {dimension - 1}")
