"""Numbers of 32 bits come in and stay so: arithmetic modulo 2**32 for the innermost loops of compiled kernels.

numba computes with at least 64 bits, whatever the numbers' type. A loop over uint32 then gets half as many of them
into a vector instruction, and on many processors a product that takes three instructions in place of one or two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic


def _operation(name: str) -> Callable[[Any, Any], Any]:
    """A function (uint32, uint32) -> uint32 for compiled code: one instruction of LLVM's."""

    @intrinsic  # type: ignore[untyped-decorator]
    def compute(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return types.uint32(types.uint32, types.uint32), generate

    computed: Callable[[Any, Any], Any] = compute
    return computed


plus = _operation("add")
minus = _operation("sub")
times = _operation("mul")
both = _operation("and_")
either = _operation("or_")
up = _operation("shl")
"""``up(number, bits)``: shifted to the left."""
down = _operation("lshr")
"""``down(number, bits)``: shifted to the right, zeros coming in."""
