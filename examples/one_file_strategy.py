"""A strategy in one file: all it takes to try an idea.

    python examples/one_file_strategy.py

``Shell`` draws the direction from the normal that fits the data, and puts every vector at the same
Mahalanobis distance from the centre. To use it as ``lsampler sample --plugin shell``, put the file
in a package whose pyproject.toml says

    [project.entry-points.lsampler]
    shell = "your_package.shell"
"""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

import lsampler


class Shell(lsampler.samplers.WhitenedSampler):
    """On one ellipsoidal shell around the centre."""

    name = "shell"

    radius: float = Field(default=0.8, gt=0, description="Mahalanobis distance, in units of sqrt(D)")

    def draw_white(self, state: Mapping[str, Tensor], block: lsampler.compute.Block, q: int) -> Tensor:
        """A random direction times the radius, in whitened principal coordinates."""
        x = block.normal(q)
        return x.mul_(self.radius * q**0.5 / x.norm(dim=1, keepdim=True))


lsampler_samplers = lsampler.plugins.offers(Shell)


if __name__ == "__main__":
    bundle = lsampler.load_bundle()
    latents = Shell().fit(bundle).sample(500, seed=0)
    faces = lsampler.decode(bundle.autoencoder, latents[:64])
    lsampler.models.save_items(faces, "shell.png", bundle.autoencoder, force=True)
    samples = lsampler.scoring.Samples("shell", latents.numpy())
    table = lsampler.evaluate([samples], bundle, [lsampler.plugins.load_evaluator("core-membership")])
    for row in table.rows:
        print(row.name, {score.metric: round(score.value, 3) for score in row.scores})
