"""Runs the sections, keeps what is finished, and writes the report."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lsampler._version import __version__
from lsampler.errors import LsamplerError, nearest_name
from lsampler.plugins.base import library_digest
from lsampler.plugins.by_name import load_core, load_sampler, plugin_names
from lsampler.progress import ProgressLike, begin, shows_progress
from lsampler.reports.analysis.context import Context
from lsampler.reports.analysis.findings import Finding, find, suggest
from lsampler.reports.analysis.notebook import (
    ShownFigure,
    TableName,
    analysis_html,
    kept_figures,
    new_figures,
    table_of,
)
from lsampler.reports.analysis.options import AnalysisOptions
from lsampler.reports.analysis.report import Record, Report, recorded
from lsampler.reports.analysis.section import Result, Section
from lsampler.reports.analysis.sections.components import components
from lsampler.reports.analysis.sections.correlations import correlations
from lsampler.reports.analysis.sections.cubes import cubes
from lsampler.reports.analysis.sections.filaments import filaments, tsne
from lsampler.reports.analysis.sections.gaussianity import gaussianity
from lsampler.reports.analysis.sections.generated import generated
from lsampler.reports.analysis.sections.labels import labels
from lsampler.reports.analysis.sections.origin import origin
from lsampler.reports.analysis.sections.principal import principal
from lsampler.reports.analysis.statements import Judgement, judge
from lsampler.reports.analysis.varying import varying_components
from lsampler.reports.content_digest import content_digest, labels_digest
from lsampler.scoring.subject import as_subject
from lsampler.showing import About, Shown, counted, name_of
from lsampler.statistics.passes import in_double_precision
from lsampler.store.opening import ReferenceLike

SECTIONS = (components, correlations, origin, cubes, gaussianity, principal, generated, labels, filaments, tsne)
FEWEST = 20


@dataclass(frozen=True, repr=False)
class Analysis(Shown):
    """What an analysis found.

    Attributes:
        reference: the name of what was analysed.
        measured: by section, every number as plain values; the same as in ``analysis.json``.
        problems: why sections could not be done, by section.
        findings: the five main findings, in plain sentences.
        suggestions: which strategies they suggest, and why.
        judgements: the posts' statements and whether they hold here.
        reused: sections that an earlier run into the same folder had finished.
        figures: those of the sections, drawn when they are shown; a copy of another process has none.
    """

    reference: str
    measured: Mapping[str, Mapping[str, Any]]
    problems: Mapping[str, str]
    findings: Sequence[Finding]
    suggestions: Sequence[str]
    judgements: Sequence[Judgement]
    reused: Sequence[str]
    figures: Sequence[ShownFigure] = field(default=(), compare=False)

    @classmethod
    def of(
        cls,
        reference: str,
        done: Mapping[str, Record],
        reused: Sequence[str] = (),
        figures: Sequence[ShownFigure] = (),
    ) -> Analysis:
        """What finished sections found, and how the statements are judged by it."""
        measured = {key: record["measured"] for key, record in done.items() if not record["problem"]}
        problems = {key: record["problem"] for key, record in done.items() if record["problem"]}
        absent = {
            s.key: f"The section '{s.key}' was not run. {s.absent}".strip() for s in SECTIONS if s.key not in measured
        }
        findings = find(measured)
        judgements = judge(measured, absent | problems)
        return cls(reference, measured, problems, findings, suggest(findings), judgements, reused, figures)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "lsampler": __version__,
            "reference": self.reference,
            "findings": [asdict(finding) for finding in self.findings],
            "suggestions": list(self.suggestions),
            "judgements": [asdict(judgement) for judgement in self.judgements],
            "problems": dict(self.problems),
            "sections": dict(self.measured),
        }

    def to_frame(self, table: TableName = "statements") -> Any:
        """One of the tables as a ``pandas.DataFrame``.

        Args:
            table: ``statements``, the posts' statements and whether they hold; ``findings``, the main findings; or
                ``measured``, a line for each number, with its section, its dotted name, and its index in a list.

        Raises:
            LsamplerError: pandas is not installed, or there is no such table.
        """
        return table_of(table, self.findings, self.judgements, self.measured)

    def _about(self) -> About:
        tally = Counter[str](judgement.status for judgement in self.judgements)
        said = [f"{tally['holds']} statements hold", f"{tally['differs']} differ"]
        sections = counted(len(self.measured), "section")
        return About("Analysis", f"of {name_of(self.reference)}", [sections, f"{len(self.findings)} findings", *said])

    def _parts(self) -> Sequence[Markup]:
        return self._html

    @cached_property
    def _html(self) -> Sequence[Markup]:
        found = analysis_html(self.findings, self.suggestions, self.judgements, self.problems, self.figures)
        return list(found)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_html"} | {"figures": ()}


@in_double_precision()
@shows_progress
def analyze(
    latents: ReferenceLike,
    out: str | os.PathLike[str] | None = None,
    *,
    sections: Iterable[str] | None = None,
    options: AnalysisOptions | None = None,
    progress: ProgressLike = None,
) -> Analysis:
    """Analyse how an encoder fills its latent space, by the methods of the posts.

    Inside :func:`lsampler.compute.on_cluster` the passes over a store run on the cluster, with the same numbers.

    Args:
        latents: a store, a bundle (what its statistics allow), the path or name of one, an array (N, D), or a
            :class:`lsampler.scoring.Subject`, whose autoencoder decodes the means of labels.
        out: folder for the report: ``index.html``, ``analysis.json``, and a folder of figures and tables for each
            section. An existing report is completed: sections are kept unless their latents, their options or the code
            of their plugins have changed. None writes nothing.
        sections: the names of the sections to run; by default all, ``tsne`` only if ``options.tsne`` is given, and
            ``labels`` only if there are any.
        options: how to analyse.
        progress: shows the progress of each section; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: an unknown section or strategy, an option out of range, latents with NaN, equal or fewer than 20
            vectors, or a folder that holds something else.
    """
    subject = as_subject(latents)
    reference = varying_components(subject.reference)
    checked = (options or AnalysisOptions()).checked(reference.dimension)
    context = Context(reference, checked, progress, subject)
    chosen = _chosen(sections, context)
    report = Report(Path(out), reference.name) if out is not None else None
    if context.count < FEWEST:
        raise LsamplerError(f"{reference.name}: {context.count} vectors are too few to analyse; give at least {FEWEST}")
    with contextlib.closing(report) if report else contextlib.nullcontext():
        return _analysed(context, chosen, report)


def _analysed(context: Context, chosen: Sequence[Section], report: Report | None) -> Analysis:
    """The sections, one after the other; the report is complete after each."""
    name, content = context.reference.name, ""
    if report:
        content = content_digest(context.reference, context.progress)
        report.begin()
    figures: list[ShownFigure] = []
    keys = {section.key: _key(section, context, content) for section in SECTIONS}
    # The page also shows sections that an earlier run finished with the same latents and options.
    known = {key: report.finished(key, keys[key]) if report else None for key in keys}
    reused = [section.key for section in chosen if known[section.key]]
    for number, section in enumerate(chosen, 1):
        if not known[section.key]:
            advance = begin(context.progress, f"{number}/{len(chosen)} {section.title}", 1)
            known[section.key], drawn = _run(section, context, report, keys[section.key])
            figures += drawn
            advance(1)
        elif report:
            figures += kept_figures(section, known[section.key], report.path)
        if report:
            done = {key: record for key, record in known.items() if record}
            report.write(Analysis.of(name, done).as_dict(), [(s, done[s.key]) for s in SECTIONS if s.key in done])
    return Analysis.of(name, {s.key: record for s in chosen if (record := known[s.key])}, reused, figures)


def _run(section: Section, context: Context, report: Report | None, key: str) -> tuple[Record, list[ShownFigure]]:
    """One section: measured, and written if there is a report; with its figures."""
    result, problem = Result({}), section.problem(context)
    if problem is None:
        try:
            result = section.run(context)
        except LsamplerError as error:
            problem = str(error)
    record = recorded(key, result, problem)
    if report:
        report.keep(section.key, record, result)
    return record, new_figures(section, result)


def _key(section: Section, context: Context, content: str) -> str:
    """Changes when the section has to be done again: other latents, options, plugins or code."""
    plugins = [load_sampler(name).digest() for name in section.strategies]
    if section.uses_cores:
        plugins += [load_core(name).digest() for name in plugin_names("core")]
    if section.uses_labels:
        plugins += [labels_digest(context.whole), context.autoencoder.fingerprint if context.autoencoder else ""]
    used = {name: context.options.plain(name) for name in section.uses}
    parts = [library_digest(), section.key, content, used, plugins]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _chosen(names: Iterable[str] | None, context: Context) -> list[Section]:
    if names is None:
        asked = {"tsne": context.options.tsne is not None, "labels": context.has_labels}
        return [section for section in SECTIONS if asked.get(section.key, True)]
    wanted, known = list(names), [section.key for section in SECTIONS]
    if not wanted:
        raise LsamplerError(f"`sections=[]`: no section is chosen; there are {', '.join(known)}")
    for name in wanted:
        if name not in known:
            raise LsamplerError(f"no section '{name}'{nearest_name(name, known)}; there are {', '.join(known)}")
    return [section for section in SECTIONS if section.key in wanted]
