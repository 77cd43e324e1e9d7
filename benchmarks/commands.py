"""Whole commands in processes of their own, including the start of Python and imports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measuring import Row, Settings, command

ANALYSED = (9000, 170_000)


def measure(settings: Settings) -> Iterator[Row]:
    """Rows beside the longest time allowed; for ``analyze`` there is none."""
    with TemporaryDirectory(dir=settings.scratch) as scratch:
        folder = Path(scratch)
        faces = ("sample", "--plugin", "pca-ellipse", "--out", folder / "faces.png", "--force")
        yield _timed("lsampler --help", ("--help",), settings.repeats, 0.25, "the start of Python and rich")
        yield _timed("lsampler sample of 64 faces", faces, settings.repeats, 5.0, "the import of torch")
        for full in ANALYSED:
            rows, store = settings.rows(full), folder / f"{full}.h5"
            command("sample", "--plugin", "multivariate-normal", "--n", rows, "--out", store)
            step, limit = f"lsampler analyze of {rows:,} vectors", "the figures and, for many vectors, the passes"
            yield _timed(step, ("analyze", store, "--out", folder / f"report{full}"), 1, None, limit)


def _timed(step: str, arguments: tuple[object, ...], repeats: int, most: float | None, limit: str) -> Row:
    runs = [command(*arguments) for _ in range(repeats)]
    times, memory = [time for time, _ in runs], max(peak for _, peak in runs)
    if most is None:
        return Row(step, "nothing", times, times, unit="runs", memory_mb=memory, limit=limit)
    return Row(step, "at most", times, [most] * repeats, unit="runs", target=1.0, memory_mb=memory, limit=limit)
