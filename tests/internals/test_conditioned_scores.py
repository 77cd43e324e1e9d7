"""Which scores run by themselves: those that need a condition only under one."""

from __future__ import annotations

import numpy as np
from labelled import labelled_store

from lsampler.plugins.by_name import evaluators_for
from lsampler.samplers import UnderCondition
from lsampler.scoring import Subject
from lsampler.scoring.plot_data import _sheet, top_line


def test_scores_of_conditions_are_taken_only_under_one() -> None:
    store = labelled_store()
    plain, under = (evaluators_for(Subject.of(each))[0] for each in (store, UnderCondition(store, {"male": 1})))
    assert set(under) - set(plain) == {"condition-probe"}
    assert set(plain) < set(under)


def test_the_first_line_of_a_picture_is_that_of_its_samples() -> None:
    """Whether nearest vectors are beneath it or not, and however many there are."""
    from io import BytesIO

    from PIL import Image

    bright, dark = np.full((16, 8, 8, 3), 230, np.uint8), np.zeros((16, 8, 8, 3), np.uint8)
    for samples, beneath in ((bright, dark), (bright, dark[:1]), (bright[:3], dark[:0]), (bright, dark[:0])):
        with Image.open(BytesIO(top_line(_sheet(samples, beneath)))) as line:
            assert line.height == 68  # an image of 8 pixels is enlarged to 64
            assert np.asarray(line).mean() > 220
