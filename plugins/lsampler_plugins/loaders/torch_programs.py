"""torch-export and torchscript: a PyTorch encoder and decoder saved as programs, which need no source code."""

import logging
import zipfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.models import Autoencoder, ForeignLoader, file_digest, require_trust
from lsampler.plugins import offers

# The largest batch that lsampler itself decodes.
BATCH = 256


class TorchProgram(ForeignLoader):
    """What the two kinds of program share: both are code, so they are opened with trusted=true only."""

    trusted: bool = Field(
        default=False,
        description="that you made these files or trust their author: opening a program can run any code in it",
    )
    holds: ClassVar[str]

    def load(self, spec: str) -> Autoencoder:
        """The pair. Raises LsamplerError if it is not trusted, not such a program, or does not fit together."""
        files = self.files(spec)
        for path in files:
            _check_kind(path, self.holds)
        require_trust(spec, self.holds, trusted=self.trusted)
        encoder, decoder = map(self.open, files)
        shape = self.item_shape(files[0], getattr(encoder, "input_shape", None))
        return self.adapt(
            spec,
            encoder,
            decoder,
            digest=file_digest(files),
            shape=shape,
            weights=[encoder, decoder],
        )

    @staticmethod
    @abstractmethod
    def open(path: Path) -> Any:
        """Open a trusted program, which can be called and moved, and may state its ``input_shape``."""


class _Exported:
    """One program of torch.export, and the shape of its one input: None for an axis of any length."""

    def __init__(self, path: Path) -> None:
        problem = f"{path}: this PyTorch ({torch.__version__}) cannot open it"
        with ForeignLoader.opening(problem, "export it from the CPU, with this release"), _quiet_torch():
            self._program = torch.export.load(path)
            self._module = self._program.module()
        names = self._program.graph_signature.user_inputs
        shapes = [node.meta["val"].shape for node in self._program.graph.nodes if node.name in names]
        if len(shapes) != 1:
            raise LsamplerError(f"{path}: takes {len(names)} inputs; export a module that takes one tensor")
        self.input_shape = [length if isinstance(length, int) else None for length in shapes[0]]
        ForeignLoader.check_batch(path, self.input_shape[0])
        allowed = self._program.range_constraints.get(shapes[0][0].node.expr)
        if allowed is not None and allowed.upper < BATCH:
            raise LsamplerError(f"{path}: takes batches of {allowed.upper} at most; export it again without this limit")

    def __call__(self, given: Tensor) -> Any:
        return self._module(given)

    def to(self, device: Any) -> None:
        """Move the weights, and the tensors that the program itself makes."""
        from torch.export.passes import move_to_device_pass

        self._program = move_to_device_pass(self._program, device)
        self._module = self._program.module()


class TorchExport(TorchProgram):
    """ENCODER.pt2+DECODER.pt2: programs of torch.export; opening one can run code, so it needs trusted=true.

    ``torch.export.load`` is not safe for files of unknown origin: it unpickles example inputs and constants without
    restriction, evaluates symbolic expressions and compiles guards from text, and no option forbids this (PyTorch
    2.13; its documentation: never load data from an untrusted source). Size and channels are read from the program
    if it fixes them.
    """

    name = "torch-export"
    suffixes = (".pt2",)
    holds = "a program of torch.export"
    open: ClassVar = _Exported


class TorchScript(TorchProgram):
    """ENCODER.ts+DECODER.ts (or .torchscript, .jit, .pt): TorchScript; opening it can run code: needs trusted=true.

    ``torch.jit.load`` has no safe mode: a program may use any of PyTorch's operators, and PyTorch asks users to treat
    it as code (its SECURITY.md). A ``.pt`` file is opened if it holds TorchScript; one with weights is refused
    unread, because weights need the code that made them.
    """

    name = "torchscript"
    suffixes = (".ts", ".torchscript", ".jit", ".pt", ".pth")
    holds = "a TorchScript program"

    @staticmethod
    def open(path: Path) -> Any:
        """Open a program, on the CPU and in evaluation mode."""
        with ForeignLoader.opening(f"{path}: this PyTorch ({torch.__version__}) cannot open it", "save it again"):
            return torch.jit.load(path, map_location="cpu").eval().float()  # type: ignore[no-untyped-call]


def _check_kind(path: Path, wanted: str) -> None:
    """Check what the archive is by the names of its members, before anything of it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2] or name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise LsamplerError(f"{path}: not {wanted}, or truncated; make it again") from error
    found = _kind(members)
    if found != wanted:
        raise LsamplerError(f"{path}: not {wanted} but {found}")


def _kind(members: set[str]) -> str:
    if any(name.startswith("data/aotinductor/") for name in members):
        return "a package compiled by AOTInductor for one machine; use torch.export.save instead"
    if "models/model.json" in members or "serialized_exported_program.json" in members:
        return TorchExport.holds
    if "constants.pkl" in members:
        return TorchScript.holds
    if "data.pkl" in members:
        return (
            "weights or a pickled object, which need the code that made them; use --model your_file.py:function, or if "
            "pythae saved them, give their folder"
        )
    return "some other archive; make it again"


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep the tracebacks that PyTorch logs from the screen, and raise the first error in them: it is the cause."""
    logged: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            logged.append(record.exc_info[1])
        return False

    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.export.pt2_archive._package")]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    except Exception as error:
        raise (logged or [error])[0] from None
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


lsampler_autoencoder_loaders = offers(TorchExport, TorchScript)
