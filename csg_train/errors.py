"""The one error type that users see: a line that names what is wrong and how to fix it."""

import contextlib
from collections.abc import Iterator

import click

__all__ = ["BusyError", "UserError", "memory_fault", "printable", "within"]

_REFUSED = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "unable to find an engine")


def printable(text: str) -> str:
    """Text without line breaks, codes for the terminal or halves of characters: each is written as Python writes it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UserError(click.ClickException, ValueError):
    """A mistake in what the user gave: one line on standard error and exit code 2, from Python a ``ValueError``.

    Raise it with a message that names the file or field, then the fix, for instance
    ``UserError(f"{path}: truncated image; replace it or remove it from the folder")``.
    """

    exit_code = 2

    def format_message(self) -> str:
        """The message on one line, whatever line breaks a library or codes for the terminal a file name put into it."""
        return printable(" ".join(self.message.split()))


class BusyError(UserError):
    """What was asked for is in another process' hands, and no mistake: a sweep goes on without it."""


@contextlib.contextmanager
def within(where: str) -> Iterator[None]:
    """Put what a mistake is part of before its message."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error.message}") from error


def memory_fault(error: Exception, where: str = "") -> UserError | None:
    """What to raise where memory gave out, of the machine or of a GPU; None where ``error`` is of something else."""
    text = str(error)
    if not (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(w in text for w in _REFUSED)
    ):
        return None
    found = " ".join(text.split("\n")[0].split(". ")[:2])
    return UserError(
        f"{where}out of memory{f' ({found})' if found else ''}; free some, or ask for less at once: train.batch_size, "
        "data.size, method.queue_size; for whole pictures segmentation.longest_side or segmentation.tile"
    )
