"""Whether a file that can run code when it is opened may be opened."""

from __future__ import annotations

from lsampler.errors import LsamplerError


def require_trust(file: object, kind: str, *, trusted: bool) -> None:
    """Refuse to open a file that can run code, unless the user trusts it.

    Every loader and evaluator calls this before it opens such a file: a pickle, a TorchScript program or a program
    of ``torch.export``. Files that hold nothing but data need no trust. Neither does Python code that the user names,
    as in ``FILE.py:CALLABLE``, because naming a program to run is the decision itself.

    Args:
        file: the file or specification, for the message.
        kind: what it is, such as ``a TorchScript program``.
        trusted: the plugin's parameter ``trusted``.

    Raises:
        LsamplerError: ``trusted`` is false.
    """
    if not trusted:
        raise LsamplerError(
            f"{file}: opening {kind} can run any code that is in it; if you made it or trust its author, "
            "pass `trusted=True`"
        )
