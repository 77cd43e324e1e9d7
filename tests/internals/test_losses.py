"""The losses of training beside independent computations in double precision."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter, zoom

from lsampler.data import Item
from lsampler.models import ConvAutoencoder, ConvConfig, DenseAutoencoder, DenseConfig
from lsampler.models.training.losses import GRADIENTS, laplacian_loss, loss_of, multi_scale_similarity
from lsampler.models.training.options import Loss

LOSSES = get_args(Loss)
SIZES = [(96, 96), (23, 40), (177, 180)]


def images(height: int, width: int, channels: int = 3) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two images with structure on several scales, and a blurred and noisy copy of each."""
    rng = np.random.default_rng(0)
    rows = np.array([zoom(rng.random((height // 6 + 1, width // 6 + 1)), 6, order=1) for _ in range(2 * channels)])
    sharp = rows[:, :height, :width].reshape(2, channels, height, width)
    return sharp, gaussian_filter(sharp, (0, 0, 1, 1)) + 0.03 * rng.normal(size=sharp.shape)


def tensors(*arrays: NDArray[np.float64]) -> list[torch.Tensor]:
    return [torch.from_numpy(array).float() for array in arrays]


def blurred(rows: NDArray[np.float64], line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges are mirrored, without repeating the outermost pixel."""
    return convolve1d(convolve1d(rows, line, axis=-1, mode="mirror"), line, axis=-2, mode="mirror")


@pytest.mark.parametrize("size", [*SIZES, (5, 4)])
def test_the_laplacian_loss_is_the_distance_of_two_pyramids(size: tuple[int, int]) -> None:
    def pyramid(rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        levels = []
        while min(rows.shape[-2:]) >= 4:
            smooth = blurred(rows, np.array([1, 4, 6, 4, 1]) / 16)
            levels.append(rows - smooth)
            rows = smooth[..., ::2, ::2]
        return [*levels, rows]

    rng = np.random.default_rng(1)
    one, two = images(*size) if min(size) > 6 else (rng.random((2, 1, *size)), rng.random((2, 1, *size)))
    pairs = zip(pyramid(one), pyramid(two), strict=True)
    expected = sum(np.abs(a - b).mean() for a, b in pairs)
    assert float(laplacian_loss(*tensors(one, two))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("size", "scales"), [(SIZES[0], 4), (SIZES[1], 2), (SIZES[2], 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_multi_scale_similarity_is_that_of_wang_et_al(size: tuple[int, int], scales: int, channels: int) -> None:
    def halves(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        height, width = (edge // 2 * 2 for edge in rows.shape[-2:])
        return rows[..., :height, :width].reshape(*rows.shape[:-2], height // 2, 2, width // 2, 2).mean(axis=(-3, -1))

    def smooth(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The window reaches five pixels to each side."""
        return gaussian_filter(rows, (0, 0, 1.5, 1.5), truncate=5 / 1.5)[..., 5:-5, 5:-5]

    one, two = images(*size, channels)
    found = multi_scale_similarity(*tensors(one, two))
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    expected = np.ones(2)
    for scale, weight in enumerate(weights / weights.sum()):
        mean1, mean2 = smooth(one), smooth(two)
        variance1, variance2 = smooth(one**2) - mean1**2, smooth(two**2) - mean2**2
        compared = (2 * (smooth(one * two) - mean1 * mean2) + 0.03**2) / (variance1 + variance2 + 0.03**2)
        if scale == scales - 1:
            compared = compared * (2 * mean1 * mean2 + 0.01**2) / (mean1**2 + mean2**2 + 0.01**2)
        expected = expected * compared.mean(axis=(1, 2, 3)) ** weight
        one, two = halves(one), halves(two)
    assert found.numpy() == pytest.approx(expected, rel=1e-4)
    assert (found < 0.99).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_items_have_no_loss_and_opposite_ones_have_a_finite_slope(loss: Loss) -> None:
    """Structure that is opposite everywhere has a negative similarity, of which there is no power."""
    (one, _), model = images(48, 48), ConvAutoencoder(ConvConfig(image_size=48, filters=(4,), latent_dim=2))
    (items,), of = tensors(one), loss_of(loss, model)
    assert float(of(items, items)) == pytest.approx(0, abs=1e-6)
    for other in (1 - items, torch.zeros_like(items), items):
        given = other.clone().requires_grad_()
        of(given, items).backward()  # type: ignore[no-untyped-call]
        assert given.grad is not None
        assert given.grad.isfinite().all()
    assert set(GRADIENTS) == set(LOSSES)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_in_single_precision_also_where_the_network_is_not(loss: Loss) -> None:
    one, two = tensors(*images(48, 48))
    of = loss_of(loss, ConvAutoencoder(ConvConfig(image_size=48, filters=(4,), latent_dim=2)))
    with torch.inference_mode():
        expected = of(one, two)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = of(one.requires_grad_(), two)
    assert (found.dtype, found.item()) == (torch.float32, float(expected))
    found.backward()  # type: ignore[no-untyped-call]  # also after a measurement without gradients


def test_the_absolute_error_of_a_table_is_in_units_of_the_standard_deviations_of_what_varies() -> None:
    model: Any = DenseAutoencoder(Item("table", (3,)), DenseConfig(latent_dim=2, widths=(4,)))
    model.standardise(torch.tensor([0.0, 100.0, 7.0]), torch.tensor([1.0, 10.0, 0.0]))
    one, other = torch.tensor([[0.0, 100.0, 7.0]]), torch.tensor([[1.0, 120.0, 7.0]])
    assert float(loss_of("l1", model)(one, other)) == pytest.approx((1 + 2) / 2)
