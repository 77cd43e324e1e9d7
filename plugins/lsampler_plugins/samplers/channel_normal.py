"""channel-normal: normals for the channels of spatial latents (C, h, w), as those of latent diffusion models are."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block, require_memory
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.statistics import Statistics
from lsampler.store import Reference

Numbers = NDArray[np.float64]
FLAT = 1e-12
"""A direction along an axis with less than so much of the variance of the widest counts as constant."""


class ChannelNormal(LatentSampler):
    """A normal for each channel of spatial latents (C, h, w): z_cyx ~ N(mu_c, sigma_c^2), all positions alike.

    Its few numbers are known exactly from few vectors, however long these are, and no covariance is formed. With
    ``dependence=none`` positions and channels are independent: what decodes is texture. ``channels`` adds the
    correlation of channels at one position. ``separable`` is the multilinear normal (Ohlson, Ahmad and von Rosen 2013,
    The multilinear normal distribution): z = mu + sigma A_C A_h A_w x, x ~ N(0, 1), with one matrix for each axis, the
    root of the correlation along it (averaged over the other axes), so that neighbouring positions are alike.

    The shape of a latent is that which the store records (``lsampler store info``). Where none is recorded, every
    component is a channel, which makes the strategy the same as ``gaussian``.
    """

    name = "channel-normal"
    aggregates_only: ClassVar[bool] = True

    dependence: Literal["none", "channels", "separable"] = Field(
        default="none", description="of the channels at one position, or along every axis; the last two need latents"
    )
    centre: Literal["channel", "position"] = Field(
        default="channel", description="one mean for each channel, or one for each of its positions"
    )
    channels: int | None = Field(
        default=None,
        ge=1,
        le=1 << 24,
        description="number of channels; none: as the store records, or D if it does not",
    )
    temperature: float = Field(default=1.0, gt=0, description="T multiplies all deviations from the centre")

    def learn(self, reference: Reference) -> State:
        """The centre, and a scale for each channel or the roots of the covariances along the axes."""
        shape, statistics = self._shape(reference), reference.statistics()
        statistics.require_spread()
        mean, variances = _by_channel(statistics, shape[0])
        if self.centre == "position":
            mean = statistics.mean
            variances = np.square(statistics.std).reshape(shape[0], -1).mean(axis=1)
        state: State = {"mean": mean, "shape": np.array(shape)}
        if self.dependence == "none":
            return state | {"sigma": self.temperature * np.sqrt(variances)}
        roots = self._roots(reference, _at_positions(torch.from_numpy(mean), shape).numpy(), shape)
        return state | {f"root_{axis}": root for axis, root in enumerate(roots)}

    def note(self) -> str:
        """Say where nothing tells which components are of one channel."""
        if len(self.state["shape"]) > 1:
            return super().note()
        what = "the shape of a latent is not recorded, so every component is a channel of its own; give `channels=...`"
        return f"{super().note()} {what}".strip()

    def _shape(self, reference: Reference) -> tuple[int, ...]:
        shape = reference.latent_shape
        if shape is not None and self.channels in (None, shape[0]):
            return shape
        if shape is not None:
            raise LsamplerError(
                f"{self.name}: the latents have {shape[0]} channels; leave out `channels={self.channels}`"
            )
        if self.channels is None:
            return (reference.dimension,)
        if reference.dimension % self.channels:
            raise LsamplerError(
                f"{self.name}: D = {reference.dimension} of {reference.name} is no multiple of "
                f"`channels={self.channels}`; give the number of channels of a latent"
            )
        return self.channels, reference.dimension // self.channels

    def _roots(self, reference: Reference, mean: Numbers, shape: tuple[int, ...]) -> Sequence[Numbers]:
        """The root of the covariance along each axis; that of the first has the variance of all."""
        axes = range(1 if self.dependence == "channels" else len(shape))
        needed = 32.0 * max(shape[axis] for axis in axes) ** 2
        require_memory(needed, f"{self.name}: `dependence={self.dependence}`", "use `dependence=none`")
        sums, count = [np.zeros((shape[axis], shape[axis])) for axis in axes], 0
        for chunk in reference.chunks():
            deviations = chunk.reshape(len(chunk), *shape) - mean
            for axis in axes:
                along = np.moveaxis(deviations, axis + 1, 0).reshape(shape[axis], -1)
                sums[axis] += along @ along.T
            count += len(chunk)
        values = count * math.prod(shape)
        covariances = [total * (shape[axis] / values) for axis, total in zip(axes, sums, strict=True)]
        # Each has the mean variance of all numbers as its own; the product shall have it once.
        variance = np.trace(covariances[0]) / shape[0]
        units = [self.temperature**2, *[1 / variance] * (len(covariances) - 1)]
        return [_root(unit * covariance) for unit, covariance in zip(units, covariances, strict=True)]

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        shape = tuple(map(int, state["shape"]))
        x = block.normal(math.prod(shape)).reshape(-1, *shape)
        if self.dependence == "none":
            x *= _at_positions(state["sigma"], shape)
        else:
            x = _along_axes(x, _roots_of(state))
        return x.add_(_at_positions(state["mean"], shape)).flatten(1)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The sum over positions of each channel's log density; constant channels do not count."""
        shape = tuple(map(int, state["shape"]))
        x, positions = latents.reshape(-1, *shape) - _at_positions(state["mean"], shape), math.prod(shape[1:])
        if self.dependence == "none":
            varying = state["sigma"] > 0
            sigma = state["sigma"][varying]
            white = x[:, varying].reshape(len(x), -1, positions) / sigma[:, None]
            volume = positions * torch.log(sigma).sum()
            return -(0.5 * white.square() + 0.5 * math.log(2 * math.pi)).sum(dim=(1, 2)) - volume
        roots = _roots_of(state)
        values = [torch.linalg.eigvalsh(root) for root in roots]
        if any(value.min() <= math.sqrt(FLAT) * value.max() for value in values):
            raise LsamplerError(f"{self.name} draws in fewer dimensions than there are: there is no density")
        white = _along_axes(x, [torch.linalg.inv(root) for root in roots]).flatten(1)
        volume = torch.stack([white.shape[1] / len(value) * torch.log(value).sum() for value in values]).sum()
        return -(0.5 * white.square() + 0.5 * math.log(2 * math.pi)).sum(dim=1) - volume


def _by_channel(statistics: Statistics, channels: int) -> tuple[Numbers, Numbers]:
    """Mean and variance (C,) of each channel over vectors and positions."""
    means, squares = statistics.mean.reshape(channels, -1), np.square(statistics.std).reshape(channels, -1)
    share = (statistics.count - 1) / statistics.count  # the statistics' variances are normalised by count - 1
    centre = means.mean(axis=1)
    return centre, share * squares.mean(axis=1) + np.square(means - centre[:, np.newaxis]).mean(axis=1)


def _at_positions(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Values (C,) or (D,) so that they broadcast to latents (n, C, ...)."""
    return values.reshape(shape if len(values) == math.prod(shape) else (shape[0], *[1] * (len(shape) - 1)))


def _root(covariance: Numbers) -> Numbers:
    """The symmetric root."""
    values, vectors = np.linalg.eigh(covariance)
    root: Numbers = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root


def _roots_of(state: Mapping[str, Tensor]) -> list[Tensor]:
    return [state[key] for key in sorted(key for key in state if key.startswith("root_"))]


def _along_axes(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Latents (n, C, ...) times a symmetric matrix along each of the first axes after n."""
    for axis, matrix in enumerate(matrices, 1):
        x = (x.movedim(axis, -1) @ matrix).movedim(-1, axis)
    return x.contiguous()


lsampler_samplers = offers(ChannelNormal)
