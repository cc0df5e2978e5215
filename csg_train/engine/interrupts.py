"""What a signal does to a run."""

import contextlib
import signal

__all__ = ["Interrupts"]


class Interrupts:
    """First SIGINT, SIGTERM or SIGHUP: finish the step, save, exit 130, 143 or 129. A second one acts at once.

    SIGHUP is left alone where it is ignored: that is what nohup asks for.
    """

    received = 0

    def __enter__(self) -> "Interrupts":
        self.previous = {}
        with contextlib.suppress(ValueError):  # not in the main thread: leave signals alone
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self.previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: object) -> None:
        self.received = number
        signal.signal(number, signal.SIG_DFL)
