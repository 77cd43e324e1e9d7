"""Live objects and files of five libraries, with items of four kinds, from the items to the reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live_models import LIBRARIES, SHAPES

import lsampler


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras itself
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_from_items_to_reports(library: str, kind: str, tmp_path: Path) -> None:
    """Encode, fit, sample, decode, compare and analyze; latents and items are the library's own within 1e-5."""
    live = LIBRARIES[library](kind, tmp_path)
    assert live.model.item.shape == SHAPES[kind]
    assert live.model.item.kind == kind.removeprefix("wide-")
    store = lsampler.encode(live.model, live.items)
    order = [int(identity) for identity in store.ids()]
    np.testing.assert_allclose(store.read(), live.encode(live.items[order]), atol=1e-5)
    latents = lsampler.load_sampler("multivariate-normal").fit(store).sample(20, seed=1).numpy()
    items, expected = lsampler.decode(store.autoencoder, latents), live.decode(latents)
    np.testing.assert_allclose(items, expected.clip(0, 1) if live.model.item.is_image else expected, atol=1e-5)
    reports = tmp_path if (library, kind) == ("torch", "signal") else None
    compared = lsampler.compare(
        store,
        "multivariate-normal",
        reports and reports / "compared",
        evaluators=["cycle-consistency", "latent-distances"],
        n=40,
    )
    drawn = next(row for row in compared.rows if row.entry)
    assert np.isfinite(drawn.by_metric["cycle-distance"].value)
    assert "frechet" in drawn.by_metric
    analysed = lsampler.analyze(store, reports and reports / "analysed", sections=["components", "generated"])
    assert not analysed.problems
    assert set(analysed.measured) == {"components", "generated"}
    for folder in ("compared", "analysed") if reports else ():
        assert (tmp_path / folder / "index.html").stat().st_size > 10_000
