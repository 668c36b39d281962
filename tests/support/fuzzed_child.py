"""Feed damaged inputs to a function in a child process: a signal, a hang or a flood of memory fails one example."""

from __future__ import annotations

import copy
import functools
import multiprocessing
import operator
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from hypothesis import strategies as st

MAX_SECONDS = 10.0
MAX_KIB = 1 << 20
"""1 GiB above what the child had once it was ready."""
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1)

Feed = Callable[[Any], None]


def _serve(function: Callable[[Any], object], allowed: tuple[type[Exception], ...], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    while True:
        given = pipe.recv()
        try:
            function(given)
            said = ""
        except allowed:
            said = ""
        except BaseException:  # noqa: BLE001 - whatever else comes out is what the test looks for
            said = traceback.format_exc()
        pipe.send((said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


@contextmanager
def fuzzed(function: Callable[[Any], object], allowed: tuple[type[Exception], ...]) -> Iterator[Feed]:
    """Yield a function that hands its argument to ``function`` in a child and fails on all but ``allowed`` errors.

    It also fails when the child dies, needs more than 10 s, or more than 1 GiB.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(function, allowed, theirs), daemon=True)
    child.start()
    theirs.close()
    ready_kib = ours.recv()

    def feed(given: Any) -> None:
        assert child.is_alive(), f"the child is gone: exit code {child.exitcode}"
        ours.send(given)
        if not ours.poll(MAX_SECONDS):
            child.kill()
            raise AssertionError(f"not finished after {MAX_SECONDS:g} s")
        try:
            said, kib = ours.recv()
        except EOFError:
            child.join()
            raise AssertionError(f"the child died: exit code {child.exitcode}") from None
        assert not said, said
        assert kib - ready_kib < MAX_KIB, f"{(kib - ready_kib) >> 10} MiB were taken"

    try:
        yield feed
    finally:
        child.kill()
        child.join()


def _edited(data: bytes, edits: list[tuple[str, int, Any]]) -> bytes:
    for kind, place, value in edits:
        at = place % (len(data) + 1)
        if kind == "bytes":
            data = data[:at] + value + data[at + len(value) :]
        elif kind == "number":
            number, width, order = value
            field = (number % (1 << 8 * width)).to_bytes(width, order)
            data = data[:at] + field + data[at + width :]
        elif kind == "insert":
            data = data[:at] + value + data[at:]
        elif kind == "drop":
            data = data[:at] + data[at + value :]
        elif kind == "again":
            data = data[: at + value] + data[at:]
        else:
            data = data[:at]
    return data


_offsets = st.integers(0, 1 << 20)
_numbers = st.tuples(st.sampled_from(EXTREMES), st.sampled_from((1, 2, 4, 8)), st.sampled_from(("little", "big")))
_edits = st.one_of(
    st.tuples(st.just("bytes"), _offsets, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("number"), _offsets, _numbers),
    st.tuples(st.just("insert"), _offsets, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("drop"), _offsets, st.integers(1, 64)),
    st.tuples(st.just("again"), _offsets, st.integers(1, 256)),
    st.tuples(st.just("cut"), _offsets, st.none()),
)


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of ``seeds`` after one to six edits: bytes and numbers overwritten, parts added, doubled, dropped, cut."""
    return st.builds(_edited, st.sampled_from(seeds), st.lists(_edits, min_size=1, max_size=6))


HUGE = 10**4000
ODD_VALUES: tuple[Any, ...] = (
    *(True, False, None, 0, 1, -1, 2**31, 2**63, 10**18, HUGE, -HUGE),
    *(0.0, -0.5, 1e308, float("inf"), float("nan"), "", "1", "none", "x" * 5000, "\0", "\ud800", "../..", "\n"),
    *([], [1], [[]], {}, {"kind": 0}, {"": ""}, {"run": {}}),
)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*place, key))


def _changed(document: Any, edits: list[tuple[int, str, Any]]) -> Any:
    document = copy.deepcopy(document)
    for number, kind, odd in edits:
        value = copy.deepcopy(odd)  # a list that was put in may be edited next
        places = list(_places(document))[1:]
        if not places:
            break
        *above, last = places[number % len(places)]
        owner = functools.reduce(operator.getitem, above, document)
        if kind == "drop":
            del owner[last]
        elif kind == "add" and isinstance(owner, dict):
            owner["added"] = copy.deepcopy(value)
        else:
            owner[last] = copy.deepcopy(value)
    return document


def changed(documents: list[Any]) -> st.SearchStrategy[Any]:
    """One of ``documents`` (nested dicts and lists) after one to four edits: values replaced, keys dropped, added."""
    odd = st.sampled_from(ODD_VALUES)
    edits = st.tuples(st.integers(0, 1 << 16), st.sampled_from(("set", "set", "drop", "add")), odd)
    return st.builds(_changed, st.sampled_from(documents), st.lists(edits, min_size=1, max_size=4))
