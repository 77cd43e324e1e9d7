"""Checks that anybody runs on a plugin or an autoencoder of their own, before others rely on it.

As a function, which reports all that fails together::

    from lsampler.testing import check_sampler

    check_sampler(MyStrategy(fact=2))

As tests, one for each promise (needs pytest)::

    from lsampler.testing import parametrize_with_checks

    @parametrize_with_checks([MyStrategy(), MyStrategy(fact=2)])
    def test_complies(check):
        check()

The promises are listed in docs/compliance.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from lsampler.errors import LsamplerError
from lsampler.models.protocols import Autoencoder
from lsampler.plugins.base import Plugin
from lsampler.samplers.base import LatentSampler
from lsampler.scoring.evaluator import Evaluator
from lsampler.store.opening import ReferenceLike
from lsampler.testing._autoencoders import AUTOENCODER_CHECKS, AutoencoderSubject
from lsampler.testing._check import Check, ComplianceError, checks_for, require_known, run_all
from lsampler.testing._evaluators import EVALUATOR_CHECKS, EvaluatorSubject
from lsampler.testing._samplers import SAMPLER_CHECKS, SamplerSubject

__all__ = [
    "Check",
    "ComplianceError",
    "autoencoder_checks",
    "check_autoencoder",
    "check_evaluator",
    "check_sampler",
    "evaluator_checks",
    "parametrize_with_checks",
    "sampler_checks",
]

SamplerLike: TypeAlias = type[LatentSampler] | LatentSampler
EvaluatorLike: TypeAlias = type[Evaluator] | Evaluator
Skip: TypeAlias = Mapping[str, str]
NOTHING: Skip = MappingProxyType({})


def check_sampler(plugin: SamplerLike, *, reference: ReferenceLike | None = None, skip: Skip = NOTHING) -> None:
    """Ask of a strategy all that is promised of one.

    Args:
        plugin: a class, for its default parameters, or an instance, which stays unfitted.
        reference: latent vectors (N, D) to fit it to, for a strategy that cannot be fitted to 600
            vectors of D = 6; some checks need others, which it may refuse.
        skip: name of a check -> why it is not asked of this strategy.

    Raises:
        ComplianceError: names every check that failed, what was seen and how to mend it.
        LsamplerError: there is no check of a name in ``skip``.
    """
    require_known(skip, SAMPLER_CHECKS)
    run_all(sampler_checks(plugin, reference=reference, skip=skip))


def check_evaluator(plugin: EvaluatorLike, *, skip: Skip = NOTHING) -> None:
    """Ask of an evaluator all that is promised of one; see :func:`check_sampler`.

    One that cannot score synthetic vectors and images has to say so in one line, and passes.
    """
    require_known(skip, EVALUATOR_CHECKS)
    run_all(evaluator_checks(plugin, skip=skip))


def check_autoencoder(autoencoder: Autoencoder, *, skip: Skip = NOTHING) -> None:
    """Ask of an autoencoder all that is promised of one; it stays on the CPU, or returns to it.

    Raises:
        ComplianceError: names every check that failed, what was seen and how to mend it.
        LsamplerError: there is no check of a name in ``skip``.
    """
    require_known(skip, AUTOENCODER_CHECKS)
    run_all(autoencoder_checks(autoencoder, skip=skip))


def sampler_checks(plugin: SamplerLike, *, reference: ReferenceLike | None = None, skip: Skip = NOTHING) -> list[Check]:
    """The checks of :func:`check_sampler`, to be called one by one."""
    _require_kind(plugin, LatentSampler)
    subject = SamplerSubject(plugin, reference)
    return checks_for(subject.label, subject, SAMPLER_CHECKS, skip)


def evaluator_checks(plugin: EvaluatorLike, *, skip: Skip = NOTHING) -> list[Check]:
    """The checks of :func:`check_evaluator`, to be called one by one."""
    _require_kind(plugin, Evaluator)
    subject = EvaluatorSubject(plugin)
    return checks_for(subject.label, subject, EVALUATOR_CHECKS, skip)


def autoencoder_checks(autoencoder: Autoencoder, *, skip: Skip = NOTHING) -> list[Check]:
    """The checks of :func:`check_autoencoder`, to be called one by one."""
    subject = AutoencoderSubject(autoencoder)
    return checks_for(subject.label, subject, AUTOENCODER_CHECKS, skip)


def parametrize_with_checks(
    subjects: Iterable[SamplerLike | EvaluatorLike | Autoencoder], *, skip: Skip = NOTHING
) -> Callable[[Any], Any]:
    """Decorator for a pytest function with an argument ``check``: a test for each plugin and check.

    Args:
        subjects: strategies, evaluators (classes or instances) and autoencoders.
        skip: name of a check -> why it is skipped.
    """
    import pytest

    require_known(skip, (*SAMPLER_CHECKS, *EVALUATOR_CHECKS, *AUTOENCODER_CHECKS))
    found = [check for subject in subjects for check in _checks_of(subject, skip)]
    marks = [[pytest.mark.skip(reason=check.skip)] if check.skip else [] for check in found]
    return pytest.mark.parametrize(
        "check", [pytest.param(check, id=check.id, marks=mark) for check, mark in zip(found, marks, strict=True)]
    )


def _checks_of(subject: Any, skip: Skip) -> list[Check]:
    kind = subject if isinstance(subject, type) else type(subject)
    if issubclass(kind, LatentSampler):
        return sampler_checks(subject, skip=skip)
    if issubclass(kind, Evaluator):
        return evaluator_checks(subject, skip=skip)
    if issubclass(kind, Plugin) or isinstance(subject, type):
        raise LsamplerError(f"{kind.__name__}: there are checks of samplers, evaluators and autoencoder instances only")
    return autoencoder_checks(subject, skip=skip)


def _require_kind(plugin: Any, base: type[Plugin]) -> None:
    kind = plugin if isinstance(plugin, type) else type(plugin)
    if not issubclass(kind, base):
        raise LsamplerError(f"{kind.__name__} is not a subclass of lsampler.{base.__name__}; derive it from that")
