"""Which evaluators suit the items of a model, and the reasons for those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lsampler.errors import LsamplerError
from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.subject import Subject


def suitable(evaluators: Iterable[type[Evaluator]], subject: Subject) -> tuple[list[type[Evaluator]], list[str]]:
    """The evaluators that are made for the items of a subject, and one line about those that are left out.

    Where a decoder does not say what it makes, it is taken to make images.
    """
    is_conditioned = getattr(subject.reference, "condition", None) is not None
    evaluators, item = [each for each in evaluators if is_conditioned or not each.needs_condition], subject.item
    known = {item.kind, item.content} if item else {"image"}
    kept = [each for each in evaluators if not each.made_for or known & set(each.made_for)]
    if subject.decode is None:  # the reason is the same for all
        return kept, []
    wanting = [each.name for each in evaluators if each.needs_images and each not in kept]
    if not wanting or item is None or item.is_image:
        return kept, []
    verb = "needs" if len(wanting) == 1 else "need"
    return kept, [f"left out: {_listed(wanting)} {verb} images; the model makes {item.plural_words}"]


def require_suitable(evaluators: Iterable[Evaluator], subject: Subject) -> None:
    """Raise LsamplerError if one that was named can score nothing of the kind that the model makes."""
    item = subject.item
    for each in evaluators:
        if each.needs_images and item is not None and not item.is_image:
            raise LsamplerError(
                f"{each.name}: needs images; the model makes {item.plural_words}; leave it out, and see item-statistics"
            )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
