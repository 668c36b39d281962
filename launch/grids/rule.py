"""Rules over a run's config, as ``subset == '178k' and epochs > 8``; they compare, and compute nothing."""

from __future__ import annotations

import ast
import dataclasses
import operator
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from datasets.errors import known_words
from harness.config import RunConfig
from launch.grids.grid import GridRun
from launch.grids.selection import methods_of, sizes_of

NAMES: dict[str, Callable[[GridRun], Any]] = {
    "name": lambda run: run.name,
    "kind": lambda run: run.kind,
    "dataset": lambda run: run.config.data.dataset,
    "subset": lambda run: sizes_of(run.config),
    "method": lambda run: methods_of(run.config),
    "network": lambda run: run.config.network.name,
    "scope": lambda run: run.config.network.scope,
    "init": lambda run: run.config.init.source,
    "teacher": lambda run: None if run.config.objective.teacher is None else run.config.objective.teacher.source,
    "epochs": lambda run: run.config.schedule.epochs,
    "seed": lambda run: run.config.seed,
}
"""What a rule may name beside the keys of a config, as ``schedule.batch_size``. A set holds all names of one
value, as --size and --method take them."""
TABLES = tuple(field.name for field in dataclasses.fields(RunConfig) if field.name != "seed")
ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
EXPECTED = "expected comparisons of a run's keys with values, joined by and, or, not: subset == '178k' and epochs > 8"


class Rule:
    """A condition on runs.

    Raises:
        ValueError: for text of another form, or an unknown name, with the known ones.
    """

    def __init__(self, text: str) -> None:
        """Parse ``text``, Python's syntax of comparisons."""
        self.text = text
        try:
            self._node = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError):
            raise ValueError(EXPECTED) from None
        _check(self._node)

    def holds(self, run: GridRun) -> bool:
        """Whether the run fits.

        Raises:
            ValueError: for a key that the run's config never has, or values that have no order.
        """
        return _holds(self._node, run)


def _check(node: ast.expr) -> None:
    """Refuse what is no condition."""
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _check(part)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            _check(part)
        case ast.Compare(left=left, ops=ops, comparators=others):
            for side in (left, *others):
                _check_side(side)
            for op, side in zip(ops, others, strict=True):
                if isinstance(op, (ast.Is, ast.IsNot)):
                    raise ValueError(EXPECTED)
                if isinstance(op, (ast.In, ast.NotIn)) and not isinstance(side, (ast.Tuple, ast.List)):
                    raise ValueError("after in comes a list, as subset in ('50k', '178k')")
        case _:
            raise ValueError(EXPECTED)


def _check_side(node: ast.expr) -> None:
    """Refuse what is neither a known name nor a value."""
    match node:
        case ast.Constant() | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            pass
        case ast.Tuple(elts=items) | ast.List(elts=items):
            for item in items:
                _check_side(item)
        case ast.Name(id=name):
            if name not in NAMES:
                raise ValueError(
                    f"{name} is unknown; {known_words(name, [*NAMES, *(f'{key}.KEY' for key in TABLES)])}"
                )
        case ast.Attribute(value=ast.Name(id=table)) if table in TABLES:
            pass
        case ast.Attribute(value=ast.Attribute() as inner):
            _check_side(inner)
        case _:
            raise ValueError(EXPECTED)


def _holds(node: ast.expr, run: GridRun) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_holds(part, run) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_holds(part, run) for part in parts)
        case ast.UnaryOp(operand=part):
            return not _holds(part, run)
    assert isinstance(node, ast.Compare)
    sides = [_value(side, run) for side in (node.left, *node.comparators)]
    return all(_compare(op, *pair) for op, pair in zip(node.ops, pairwise(sides), strict=True))


def _value(node: ast.expr, run: GridRun) -> Any:
    match node:
        case ast.Name(id=name):
            return NAMES[name](run)
        case ast.Attribute(value=inner, attr=key):
            table = getattr(run.config, inner.id) if isinstance(inner, ast.Name) else _value(inner, run)
            return _key(table, key, ast.unparse(inner))
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return [_value(item, run) for item in items]
    return ast.literal_eval(node)


def _key(table: Any, key: str, where: str) -> Any:
    """A field of a part of a config; None of a part that is not there, or of another method's objective."""
    if table is None:
        return None
    known = [field.name for field in dataclasses.fields(table)] if dataclasses.is_dataclass(table) else []
    if key in known:
        return getattr(table, key)
    if where.partition(".")[0] == "objective":
        return None
    raise ValueError(f"{where}.{key} is unknown; {known_words(key, known)}")


def _compare(op: ast.cmpop, left: Any, right: Any) -> bool:
    if isinstance(op, (ast.In, ast.NotIn)):
        return any(_equal(left, item) for item in right) is isinstance(op, ast.In)
    if isinstance(op, (ast.Eq, ast.NotEq)):
        return _equal(left, right) is isinstance(op, ast.Eq)
    if left is None or right is None:
        return False
    try:
        if isinstance(left, set) or isinstance(right, set):
            raise TypeError
        return bool(ORDERS[type(op)](left, right))
    except TypeError:
        raise ValueError(f"{_shown(left)} and {_shown(right)} have no order") from None


def _equal(left: Any, right: Any) -> bool:
    """Equality, where a set is any of its names."""
    if isinstance(right, set):
        left, right = right, left
    return right in left if isinstance(left, set) and not isinstance(right, (set, list)) else bool(left == right)


def _shown(value: Any) -> str:
    return "/".join(sorted(value)) if isinstance(value, set) else repr(value)
