"""Hypothesis strategies: a good file with something wrong in it, and a call that may only succeed or refuse."""

import contextlib
import copy
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from csg_train.errors import UserError

COUNTS: Counter[tuple[str, str]] = Counter()
"""Cases by (what was read, ``accepted`` or ``refused``) in this process."""

fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=None,  # processor time differs tenfold on a busy machine; `refused_or_fine` finds what hangs
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
_SECONDS = 30

_LIKELY = st.sampled_from([0.5, 1, 2, True, "baseline", "none", "x", "/etc", {}, []])
_NAMES = (
    "caf\udce9",
    "cafe\u0301",
    "caf\u00e9",
    "[/b]",
    "[red]x",
    "w #1",
    "a: b",
    "-x",
    "a\nb",
    "~",
    "~/x",
    "2024",
    "no",
)
words = st.sampled_from(
    ["", "..", "../..", "/etc/passwd", "a\0b", "none", "csg", "x" * 5000, "\x1b[31m", "\ud83d\ude00", "=1+1", *_NAMES]
)
numbers = st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, float("inf"), float("-inf"), float("nan")])
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), words, numbers, _LIKELY)
plain = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | words, inner, max_size=4),
    max_leaves=8,
)
"""Plain values of any kind."""


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        pytest.fail(f"longer than {_SECONDS} s")  # no Exception: what reads files says of most that they are damaged

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused_or_fine(subject: str, call: Callable[[], Any]) -> Any:
    """The result of a call, or None where it raised a `UserError` of one line; anything else fails the test."""
    try:
        with _alarm():
            result = call()
    except UserError as error:
        message = error.format_message()
        assert message.splitlines() == [message]
        assert message.isprintable()
        COUNTS[subject, "refused"] += 1
        return None
    COUNTS[subject, "accepted"] += 1
    return result


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value below this one."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in below:
        yield (*at, key)
        yield from _places(inner, (*at, key))


@st.composite
def altered(draw: st.DrawFn, base: Any, values: st.SearchStrategy[Any] = plain) -> Any:
    """A nested value with up to two of its parts replaced, removed, or joined by another key."""
    value = copy.deepcopy(base)
    for _ in range(draw(st.integers(0, 2))):
        *parents, last = draw(st.sampled_from(list(_places(value)) or [()])) or (None,)
        node = value
        for key in parents:
            node = node[key]
        action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if action == "add" and isinstance(node, dict):
            node[draw(st.text(max_size=8) | st.integers() | st.just("method"))] = draw(values)
        elif action == "remove" and last is not None:
            del node[last]
        elif last is not None:
            node[last] = draw(values)
    return value


@st.composite
def damaged(draw: st.DrawFn, base: bytes) -> bytes:
    """Bytes with a few of them changed, cut off, put in or repeated."""
    content = bytearray(base)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)) | st.integers(0, min(64, max(len(content) - 1, 0))))
        action = draw(st.sampled_from(["flip", "flip", "cut", "put", "repeat", "fill"]))
        if action == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif action == "cut":
            del content[at:]
        elif action == "put":
            content[at:at] = draw(st.binary(max_size=16))
        elif action == "repeat":
            content[at:at] = content[at : at + draw(st.integers(0, 256))]
        elif content:
            content[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"]))
    return bytes(content)
