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
            analyze = ("analyze", store, "--out", folder / f"report{full}")
            yield _timed(
                f"lsampler analyze of {rows:,} vectors",
                analyze,
                1,
                None,
                "the figures and, for many vectors, the passes",
            )


def _timed(step: str, arguments: tuple[object, ...], repeats: int, most: float | None, limit: str) -> Row:
    runs = [command(*arguments) for _ in range(repeats)]
    times = [time for time, _ in runs]
    peer = "at most" if most else "nothing"
    return Row(
        step,
        peer,
        "runs",
        times,
        1,
        [most] * repeats if most else times,
        1,
        target=1.0 if most else None,
        memory_mb=max(peak for _, peak in runs),
        limit=limit,
    )
