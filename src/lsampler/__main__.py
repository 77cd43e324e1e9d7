"""``python -m lsampler``, and the command ``lsampler``."""

from __future__ import annotations

import signal

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until commands handle Ctrl-C: nothing has begun that could be lost


def main() -> None:
    """Run the command line in a process of its own."""
    from lsampler.cli import main as run

    try:
        run()
    except SystemExit as ended:
        # A traceback, or a failure after all is done, would be all that is seen of a signal from here on.
        is_interrupted = isinstance(ended.code, int) and ended.code > 128
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL if is_interrupted else signal.SIG_IGN)
        raise


if __name__ == "__main__":
    main()
