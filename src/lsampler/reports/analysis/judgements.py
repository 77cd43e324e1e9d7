"""Judges the posts' statements: whether each holds for the latents at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lsampler.reports.analysis.statements import STATEMENTS, Measured, NotMeasuredError

Status = Literal["holds", "differs", "not measured"]


@dataclass(frozen=True)
class Judgement:
    """Whether one statement of the posts holds.

    Attributes:
        key: stable name of the statement.
        post: where it is made.
        statement: what it says.
        theirs: the post's value.
        here: the value for these latents; empty if it was not measured.
        status: whether it holds.
        why: the rule in a sentence, or why nothing was measured.
    """

    key: str
    post: str
    statement: str
    theirs: str
    here: str
    status: Status
    why: str


def judge(sections: Mapping[str, Mapping[str, Any]], problems: Mapping[str, str]) -> list[Judgement]:
    """Judge all statements; ``problems`` says why a section is absent."""
    measured = Measured(sections)
    judgements = []
    for s in STATEMENTS:
        status: Status
        try:
            numbers = s.quantity(measured)
            here, why = s.here.format(*numbers).replace("%", " %"), s.why
            status = "holds" if s.rule(*numbers) else "differs"
        except NotMeasuredError as error:
            section = str(error).split(".", 1)[0]
            here, status = "", "not measured"
            why = problems.get(section, f"The section '{section}' has no such value for this reference.")
        judgements.append(Judgement(s.key, s.post, s.text, s.theirs, here, status, why))
    return judgements
