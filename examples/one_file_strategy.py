"""A strategy in one file: all it takes to try an idea.

    python examples/one_file_strategy.py

``Shell`` draws the direction from the normal that fits the data, and puts every vector at the same
Mahalanobis distance from the centre. To use it as ``lsampler sample --plugin shell``, put the file
in a package whose pyproject.toml says

    [project.entry-points.lsampler]
    shell = "your_package.shell"
"""

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import (
    Block,
    LatentSampler,
    Reference,
    Samples,
    State,
    decode_images,
    evaluate,
    load_bundle,
    load_evaluator,
    offers,
    save_grid,
)


class Shell(LatentSampler):
    """On one ellipsoidal shell around the centre."""

    name = "shell"

    radius: float = Field(default=0.8, gt=0, description="Mahalanobis distance, in units of sqrt(D)")

    def learn(self, reference: Reference) -> State:
        """Centre, and principal axes scaled by their standard deviations."""
        pca = reference.statistics().pca
        return {"mean": pca.mean, "axes": np.sqrt(pca.variances[:, np.newaxis]) * pca.axes}

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """A random direction, stretched along the axes."""
        x = block.normal(len(state["mean"]))
        x *= self.radius * len(state["mean"]) ** 0.5 / torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return state["mean"] + x @ state["axes"]


lsampler_samplers = offers(Shell)


if __name__ == "__main__":
    bundle = load_bundle()
    latents = Shell().fit(bundle).sample(500, seed=0)
    save_grid(decode_images(bundle.autoencoder, latents[:64]), "shell.png", force=True)
    table = evaluate([Samples("shell", latents.numpy())], bundle, [load_evaluator("core-membership")])
    for row in table.rows:
        print(row.name, {score.metric: round(score.value, 3) for score in row.scores})
