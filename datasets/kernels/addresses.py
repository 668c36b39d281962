"""Addresses come in; the numbers that lie there go out: memory access for the innermost loops of compiled kernels.

numba counts the references to an array whenever a function gets it as an argument, even one that is inlined; where
that happens for every symbol of a JPEG it takes longer than the work. Nothing is checked here: a kernel that uses
these must know that its addresses are good, and hold the arrays meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LINE_BYTES = 64
"""What a core asks memory for at a time."""


def _loader(kind: Any) -> Callable[[Any, Any], Any]:
    """A function (address, index) for compiled code: the number of this kind at ``index`` of an array."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
            return builder.load(builder.gep(pointer, [arguments[1]]))

        return kind(types.int64, types.int64), generate

    loader: Callable[[Any, Any], Any] = load
    return loader


load_uint16 = _loader(types.uint16)
load_int32 = _loader(types.int32)
load_int64 = _loader(types.int64)


@intrinsic  # type: ignore[untyped-decorator]
def load_two_bytes(typing_context: Any, address: Any, index: Any) -> Any:
    """The bytes ``index`` and ``index + 1`` after an address as a uint32, the first of them lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, pair = ir.IntType(8).as_pointer(), ir.IntType(16).as_pointer()
        place = builder.gep(builder.inttoptr(arguments[0], byte), [arguments[1]])
        loaded = builder.load(builder.bitcast(place, pair), align=1)
        return builder.zext(loaded, ir.IntType(32))

    return types.uint32(types.int64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_big_endian(typing_context: Any, address: Any) -> Any:
    """The eight bytes at an address, which need not be aligned, as a uint64 whose highest byte is the first."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_value_type(types.uint64).as_pointer())
        return builder.bswap(builder.load(pointer, align=1))

    return types.uint64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_int16(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    """Put the lowest 16 bits of ``value`` at ``index`` of the array at ``address``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(types.int16)
        pointer = builder.gep(builder.inttoptr(arguments[0], kind.as_pointer()), [arguments[1]])
        builder.store(builder.trunc(arguments[2], kind), pointer)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_atomically(typing_context: Any, address: Any, number: Any) -> Any:
    """Raise the int64 at ``address`` by ``number``, undisturbed by other threads; what it was before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_value_type(types.int64).as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_atomically(typing_context: Any, address: Any) -> Any:
    """The int64 at an address as other threads have left it; unlike adding 0 it does not take it away from them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_value_type(types.int64).as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_atomically(typing_context: Any, address: Any, number: Any) -> Any:
    """Put an int64 at an address; a thread that loads it sees all that was stored before it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_value_type(types.int64).as_pointer())
        builder.store_atomic(arguments[1], pointer, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def exchange_atomically(typing_context: Any, address: Any, expected: Any, number: Any) -> Any:
    """Put an int64 at an address if what is there is as expected; whether it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_value_type(types.int64).as_pointer())
        found = builder.cmpxchg(pointer, arguments[1], arguments[2], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(found, 1), context.get_value_type(types.boolean))

    return types.boolean(types.int64, types.int64, types.int64), generate


def _fetcher(to_write: int) -> Callable[[Any], None]:
    """A function (address) for compiled code: have the line of memory there brought to the core, without waiting."""

    @intrinsic  # type: ignore[untyped-decorator]
    def fetch(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            byte, number = context.get_value_type(types.uint8).as_pointer(), context.get_value_type(types.int32)
            kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
            prefetch = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
            nearest, of_data = number(3), number(1)
            builder.call(prefetch, [builder.inttoptr(arguments[0], byte), number(to_write), nearest, of_data])
            return context.get_dummy_value()

        return types.void(types.int64), generate

    fetcher: Callable[[Any], None] = fetch
    return fetcher


fetch_to_read = _fetcher(0)
fetch_to_write = _fetcher(1)


@intrinsic  # type: ignore[untyped-decorator]
def copy_bytes(typing_context: Any, target: Any, source: Any, num_bytes: Any) -> Any:
    """The C library's ``memcpy``, which is a third faster than a loop that the compiler makes vector code of."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = context.get_value_type(types.uint8).as_pointer()
        target, source = (builder.inttoptr(address, byte) for address in arguments[:2])
        cgutils.raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate
