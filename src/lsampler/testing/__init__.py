"""The compliance kit: checks of plugins and autoencoders, to run before others rely on them.

As a function, which reports all failures together::

    from lsampler.testing import check_sampler

    check_sampler(MyStrategy(fact=2))

As tests, one for each check (needs pytest)::

    from lsampler.testing import parametrize_with_checks

    @parametrize_with_checks([MyStrategy(), MyStrategy(fact=2)])
    def test_complies(check):
        check()

docs/compliance.md lists the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from lsampler.errors import LsamplerError
from lsampler.models.protocols import Autoencoder
from lsampler.plugins.base import Plugin
from lsampler.samplers.base import LatentSampler, SamplerLike
from lsampler.scoring.evaluator import Evaluator, EvaluatorLike
from lsampler.store.opening import ReferenceLike
from lsampler.testing.autoencoders import AutoencoderChecks
from lsampler.testing.checks import Check, ComplianceError, require_known, run_all
from lsampler.testing.evaluators import EvaluatorChecks
from lsampler.testing.samplers import SamplerChecks

__all__ = [
    "Check",
    "ComplianceError",
    "check_autoencoder",
    "check_evaluator",
    "check_sampler",
    "checks_of",
    "parametrize_with_checks",
]

Skip: TypeAlias = Mapping[str, str]
NOTHING: Skip = MappingProxyType({})


def check_sampler(plugin: SamplerLike, *, reference: ReferenceLike | None = None, skip: Skip = NOTHING) -> None:
    """Run all checks of a sampling strategy.

    Args:
        plugin: a name or a class, for its default parameters, or an instance, which stays unfitted.
        reference: latent vectors (N, D) to fit it to, for a strategy that cannot be fitted to 600
            vectors of D = 6; some checks need others, which it may refuse.
        skip: name of a check -> why it is skipped.

    Raises:
        ComplianceError: names every check that failed, what was observed and how to fix it.
        LsamplerError: ``skip`` names a check that does not exist.
    """
    run_all(SamplerChecks(plugin, reference).checks(), skip)


def check_evaluator(plugin: EvaluatorLike, *, skip: Skip = NOTHING) -> None:
    """Run all checks of an evaluator; arguments and errors are those of :func:`check_sampler`.

    An evaluator that cannot score synthetic vectors and images passes if it says so in one line.
    """
    run_all(EvaluatorChecks(plugin).checks(), skip)


def check_autoencoder(autoencoder: Autoencoder, *, skip: Skip = NOTHING) -> None:
    """Run all checks of an autoencoder, which ends up on the CPU; errors are those of :func:`check_sampler`."""
    run_all(AutoencoderChecks(autoencoder).checks(), skip)


def checks_of(subject: Any) -> list[Check]:
    """The checks of a strategy, an evaluator or an autoencoder, to be called one by one."""
    kind = subject if isinstance(subject, type) else type(subject)
    if issubclass(kind, LatentSampler):
        return SamplerChecks(subject).checks()
    if issubclass(kind, Evaluator):
        return EvaluatorChecks(subject).checks()
    if issubclass(kind, Plugin) or isinstance(subject, type):
        raise LsamplerError(f"{kind.__name__}: there are checks of samplers, evaluators and autoencoder instances only")
    return AutoencoderChecks(subject).checks()


def parametrize_with_checks(
    subjects: Iterable[type[LatentSampler | Evaluator] | LatentSampler | Evaluator | Autoencoder],
    *,
    skip: Skip = NOTHING,
) -> Callable[[Any], Any]:
    """Decorator for a pytest function with an argument ``check``: one test for each plugin and check.

    Args:
        subjects: strategies and evaluators, as classes or instances, and autoencoders.
        skip: name of a check -> why it is skipped.
    """
    import pytest

    found = [check for subject in subjects for check in checks_of(subject)]
    require_known(skip, found)
    marks = {name: [pytest.mark.skip(reason=reason)] for name, reason in skip.items()}
    return pytest.mark.parametrize(
        "check", [pytest.param(check, id=check.id, marks=marks.get(check.name, ())) for check in found]
    )
