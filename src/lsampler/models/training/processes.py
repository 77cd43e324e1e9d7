"""Several processes that train together: for one machine they are started here, for several by torchrun.

Both ways are torchrun's (``torch.distributed.elastic``): it finds the port, says to each process who it is, ends all
when one fails, and hands Ctrl-C on to all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from lsampler.errors import LsamplerError

__all__ = ["Team", "end_at_once_on_sigterm", "launch", "one_voice", "processes_here", "team"]

# Exit codes of a process of a team: its message is out; Ctrl-C, of which whoever started the team speaks.
SAID, INTERRUPTED = 2, 3
# How long a process that may not know the cause leaves the word to one that does; that one's end ends all.
HOLD_SECONDS = 10.0
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@dataclass(frozen=True)
class Team:
    """The place of this process among those that train together.

    Args:
        rank: 0 for the one that prints and writes.
        here: processes on this machine, and on each of the others.
        machines: how many there are.
    """

    rank: int
    here: int
    machines: int


def team() -> Team | None:
    """The team that torchrun or :func:`launch` put this process into; none for a process of its own."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    here, all_of_them = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return Team(int(os.environ["RANK"]), here, all_of_them // here)


def processes_here(accelerator: str, devices: str, nodes: int) -> int:
    """How many processes to start on this machine: one for each device.

    Raises:
        LsamplerError: no such devices, or several machines, each of which needs a start of its own.
    """
    if nodes > 1:
        raise LsamplerError(
            f"--nodes {nodes}: start it with torchrun on every machine, as in docs/guide.md, section "
            "'Training on several machines'"
        )
    present, what = _present(accelerator)
    if devices in ("auto", "-1"):
        return present if what == "GPUs" and present else 1
    named = [part.strip() for part in devices.split(",") if part.strip()]
    numbers = bool(named) and all(part.isdigit() for part in named)
    if "," in devices:
        valid, wanted = numbers and what == "GPUs" and len(set(named)) == len(named), len(named)
    else:
        valid, wanted = numbers and int(devices) > 0, int(devices) if numbers else 0
    if not valid:
        raise LsamplerError(f"--devices {devices}: must be auto, a number from 1 on, or GPUs such as 0,2")
    if wanted > max(1, present):  # whether there is a single one is Lightning's to judge
        raise LsamplerError(f"--devices {devices}: this machine has {present} {what}; take at most as many")
    return wanted


def _present(accelerator: str) -> tuple[int, str]:
    """How many processes this machine can feed, and by what."""
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.device_count(), "GPUs"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return 1, "GPUs"
    return (os.cpu_count() or 1, "CPU cores") if accelerator in ("auto", "cpu") else (0, "such devices")


def launch(processes: int, command: Sequence[str]) -> None:
    """Run ``command``, a Python interpreter and what it shall run, in a team of processes on this machine.

    The first that fails ends the others, and so do Ctrl-C and the end of this process by SIGTERM.

    Raises:
        LsamplerError: a process was killed.
        typer.Exit: a process failed and has said why, or Ctrl-C.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        signals_to_handle=",".join(SIGNALS),
    )
    # It substitutes $$ in what it runs, and a file may be called that.
    program, *arguments = (part.replace("$", "$$") for part in command)
    try:
        with _quiet_launcher():
            elastic_launch(config, program)(*arguments)
    except SignalException as ended:
        raise typer.Exit(128 + ended.sigval) from ended
    except ChildFailedError as failed:
        codes = {failure.exitcode for failure in failed.failures.values()}
        rank, first = failed.get_first_failure()
        if SAID in codes or (first.exitcode > 0 and first.exitcode != INTERRUPTED):
            raise typer.Exit(SAID if SAID in codes else first.exitcode) from failed
        if first.exitcode == INTERRUPTED:
            raise typer.Exit(130) from failed
        name = signal.Signals(-first.exitcode).name
        raise LsamplerError(
            f"process {rank + 1} of {processes} was killed ({name}), and the others stopped; "
            "is there enough memory? --resume goes on after the last finished epoch"
        ) from failed


@contextlib.contextmanager
def _quiet_launcher() -> Iterator[None]:
    """Without its log, and with the handlers of signals put back."""
    handlers = {name: signal.getsignal(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)}
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
        for name, handler in handlers.items():
            signal.signal(getattr(signal, name), handler)


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """In a team, let only the process that knows why all end say so; alone, do nothing.

    What the first process finds wrong with the input, the others find too, and all lose the connection to one that
    fails. So they wait before they speak, and are ended meanwhile.
    """
    place = team()
    if place is None:
        yield
        return
    handler = end_at_once_on_sigterm()
    try:
        try:
            yield
        except typer.Exit:
            raise
        except Exception as error:
            if place.rank > 0 or not isinstance(error, LsamplerError):
                time.sleep(HOLD_SECONDS)
            if _is_lost_connection(error):
                raise LsamplerError(
                    "the connection to the other processes was lost; what they say tells why, "
                    "and --resume goes on after the last finished epoch"
                ) from error
            raise
    except (KeyboardInterrupt, _EndedError):
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit as ended:
        raise typer.Exit(INTERRUPTED if ended.exit_code == 130 else ended.exit_code) from ended
    finally:
        signal.signal(signal.SIGTERM, handler)


class _EndedError(BaseException):
    """Whoever started the team ends it: clear up, say nothing."""


def end_at_once_on_sigterm() -> Any:
    """Take SIGTERM back from Lightning, whose handler waits for the first process: it may be the one that failed.

    Returns:
        The handler before.
    """

    def end(*_: object) -> None:
        raise _EndedError

    return signal.signal(signal.SIGTERM, end)


def _is_lost_connection(error: Exception) -> bool:
    import torch

    named = isinstance(error, torch.distributed.DistError)
    return named or (isinstance(error, RuntimeError) and any(word in str(error) for word in ("gloo", "NCCL")))
