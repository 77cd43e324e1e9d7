"""The base of all evaluators, which turn samples and real data into named scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pydantic import PrivateAttr

from lsampler.errors import LsamplerError
from lsampler.plugins.base import Plugin, as_plugins
from lsampler.scoring.samples import RealData, Samples
from lsampler.scoring.scores import Score


class Evaluator(Plugin):
    """Scores samples. A subclass writes :meth:`score` and, if it learns from the real data, :meth:`prepare`."""

    by_default: ClassVar[bool] = True
    """Whether ``lsampler evaluate`` runs it when none is named."""
    made_for: ClassVar[Sequence[str]] = ()
    """Kinds of items (``image``, ``signal``, ``table``, ``array``), or what images show (``faces``): ``compare`` takes
    it by itself only where the model's items are such; empty: it takes it for any."""
    needs_images: ClassVar[bool] = False
    """Whether it can score nothing but images."""
    needs_condition: ClassVar[bool] = False
    """Whether it scores samples under a condition alone: it runs by default where there is one, and not elsewhere."""
    takes_minutes: ClassVar[bool] = False
    """Whether it takes so long that ``lsampler compare --quick`` leaves it out."""
    compares_with_train: ClassVar[bool] = False
    """Whether samples are compared with train vectors. Other train vectors are then scored as well: they are the
    best that any sampler can reach."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # A private attribute without a value is one that prepare() sets.
            try:
                return super().__getattr__(name)
            except AttributeError as error:
                if name not in type(self).__private_attributes__:
                    raise
                raise LsamplerError("not prepared; call prepare(real) before score(samples)") from error

    _real: RealData = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        """Learn what is needed of the real data, once for all samples; by default keep it as ``self._real``."""
        self._real = real

    def caveats(self) -> list[str]:
        """What a reader of all scores has to know, such as what could not be prepared, one line each."""
        return []

    @abstractmethod
    def score(self, samples: Samples) -> list[Score]:
        """The scores of one set of samples. Raises LsamplerError, with the reason, if it has none."""

    def key_of(self, metric: str) -> str:
        """The key under which a bundle remembers a score of the real data.

        It names everything that the score depends on: by default the evaluator and all its parameters.
        """
        return self.key()


EvaluatorLike: TypeAlias = str | type[Evaluator] | Evaluator
"""An evaluator by its name, its class, or with its parameters."""


def as_evaluators(given: EvaluatorLike | Iterable[EvaluatorLike], argument: str = "evaluators") -> list[Evaluator]:
    """Evaluators that are given by name, by class or as they are; a single one will do."""
    return as_plugins(Evaluator, given, argument)
