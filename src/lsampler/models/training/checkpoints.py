"""What a checkpoint says of its training, beside the state that Lightning keeps in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lsampler.errors import LsamplerError

CHECKPOINT = Path("checkpoints") / "last.ckpt"
"""In the folder of a training."""
CONTENT = "lsampler"
# A resumed training may change these; with any other change it would be a different training.
MAY_CHANGE = ("accelerator", "devices", "nodes", "precision", "epochs")


def content_of(checkpoint: Path) -> dict[str, Any]:
    """The ``identity`` of a training, its ``epochs`` and the ``rows`` of its curve.

    Raises:
        LsamplerError: the file is damaged, or another program's.
    """
    try:
        saved: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)[CONTENT]
        # Earlier versions had one loss, and did not name it.
        identity, rows = {"loss": "mse"} | saved["identity"], list(saved["rows"])
        # Earlier versions counted the epochs among what must not change.
        return {"identity": identity, "rows": rows, "epochs": int(saved.get("epochs") or identity["epochs"])}
    except Exception as error:  # damaged archives raise anything
        raise LsamplerError(
            f"{checkpoint}: not a readable checkpoint; start the training again in another folder"
        ) from error
