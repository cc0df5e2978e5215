"""What a signal does to a run."""

import contextlib
import os
import signal
import time
from types import FrameType

from csg_train.program import ENDINGS

__all__ = ["Interrupts"]

_HANG_UP = getattr(signal, "SIGHUP", None)
_ONE = 1.0
"""Seconds in which a signal that comes again is the same: timeout(1) sends two, and a shell passes its hang-up on."""


class Interrupts:
    """First SIGINT, SIGTERM or SIGHUP: finish the step, save, exit 130, 143 or 129. A later one acts at once.

    Not a later SIGHUP, nor one within a second. Of Python code, a notebook's for instance, Ctrl-C again ends the
    training alone, with Python's own KeyboardInterrupt. SIGHUP is left alone where it is ignored: nohup asks for that.
    """

    received = 0
    when = 0.0
    """The clock then."""

    def __enter__(self) -> "Interrupts":
        self.previous = {}
        with contextlib.suppress(ValueError):  # not in the main thread: leave signals alone
            for number in ENDINGS:
                if number != _HANG_UP or signal.getsignal(number) != signal.SIG_IGN:
                    self.previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received, self.when = number, time.monotonic()
        elif number != _HANG_UP and time.monotonic() - self.when > _ONE:  # nobody hangs up out of impatience
            if self.previous.get(signal.Signals(number)) is signal.default_int_handler:
                signal.default_int_handler(number, frame)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
