"""Run by test_training.py: teams of two processes, each pair with some trouble or none.

One process imports Lightning, which takes seconds, and forks the members of each team. Like torchrun it keeps the store
that they meet at, and ends the others when one fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from lsampler import LsamplerError
from lsampler.cli import main
from lsampler.models.training import processes as _processes
from lsampler.models.training import training as _training


def member(rank: int, port: int, folder: Path, trouble: str, arguments: list[str]) -> None:
    """One process of the team; what it says goes to files."""
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{name}", os.O_CREAT | os.O_WRONLY), stream)
    of_torchrun = {
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    os.environ.update(of_torchrun)
    make_trouble(trouble, rank)
    leave_weights(folder / f"{rank}.weights")
    # The one that knows the cause shall speak, the other shall not, however slow the machine is.
    _processes.HOLD_SECONDS = 0.1 if trouble == "error" and rank == 1 else 100
    signal.alarm(120)  # one that waits for ever is a failure
    sys.argv = ["lsampler", "train", *arguments]
    main()


def make_trouble(trouble: str, rank: int) -> None:
    """In the middle of the second epoch."""
    step = _training._Training.training_step

    def troubled(self: Any, batch: torch.Tensor, index: int) -> torch.Tensor:
        if self.current_epoch == 1 and index == 5 and trouble == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)
        if self.current_epoch == 1 and index == 5 and trouble == "error" and rank == 1:
            raise LsamplerError("the second process has had enough")
        return step(self, batch, index)

    _training._Training.training_step = troubled  # type: ignore[method-assign]


def leave_weights(path: Path) -> None:
    """Of this process's model at the end, as a digest."""
    finish = _training._finish

    def noted(recorder: Any, *rest: Any, **named: Any) -> Any:
        weights = b"".join(value.numpy().tobytes() for value in recorder.model.state_dict().values())
        path.write_text(hashlib.sha256(weights).hexdigest())
        return finish(recorder, *rest, **named)

    _training._finish = noted


def team(folder: Path, trouble: str, arguments: list[str]) -> list[int]:
    """Their exit codes."""
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    running: dict[int, int] = {}
    for rank in (0, 1):
        process = os.fork()
        if process == 0:
            code: Any = 99
            try:
                member(rank, store.port, folder, trouble, arguments)
            except SystemExit as ended:
                code = ended.code or 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        running[process] = rank
    codes = [0, 0]
    while running:
        process, status = os.wait()
        codes[running.pop(process)] = os.waitstatus_to_exitcode(status)
        if any(codes) and trouble != "Ctrl-C":  # that reached both
            for other in running:
                os.kill(other, signal.SIGTERM)
    return codes


if __name__ == "__main__":
    for name, trouble, *arguments in json.loads(sys.argv[1]):
        Path(name).mkdir()
        (Path(name) / "codes").write_text(json.dumps(team(Path(name), trouble, arguments)))
