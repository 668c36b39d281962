"""Addresses of float32 or bfloat16 numbers come in; float32 goes out, and back: memory access for the kernels.

numba knows no bfloat16: a number of that kind is the upper half of a float32, and is spoken of as uint16. Nothing is
checked here.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

_HALF, _WORD, _FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()


@intrinsic  # type: ignore[untyped-decorator]
def load(typing_context: Any, address: Any, index: Any, kind: Any) -> Any:
    """Number ``index`` of the array at ``address`` as float32; ``kind`` is a float32, or a uint16 for bfloat16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if kind == types.float32:
            return builder.load(_place(builder, arguments, _FLOAT), align=4)
        upper = builder.zext(builder.load(_place(builder, arguments, _HALF), align=2), _WORD)
        return builder.bitcast(builder.shl(upper, _WORD(16)), _FLOAT)

    return types.float32(types.int64, types.int64, kind), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typing_context: Any, address: Any, index: Any, value: Any, kind: Any) -> Any:
    """Put a float32 there, as bfloat16 rounded to the nearest, to the even one of two, as torch does."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if kind == types.float32:
            builder.store(arguments[2], _place(builder, arguments, _FLOAT), align=4)
        else:
            builder.store(_upper_half(builder, arguments[2]), _place(builder, arguments, _HALF), align=2)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32, kind), generate


def _place(builder: Any, arguments: Any, kind: Any) -> Any:
    return builder.gep(builder.inttoptr(arguments[0], kind.as_pointer()), [arguments[1]])


def _upper_half(builder: Any, value: Any) -> Any:
    bits = builder.bitcast(value, _WORD)
    is_odd = builder.and_(builder.lshr(bits, _WORD(16)), _WORD(1))
    rounded = builder.lshr(builder.add(bits, builder.add(is_odd, _WORD(0x7FFF))), _WORD(16))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, _WORD(0x7FC0), rounded), _HALF)
