"""Write the grid of a sweep: one run's config with lists of values for some of its keys, as a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from datasets.errors import InputError
from harness.config import RunConfig, to_dict
from harness.config.parse import TABLES
from launch.grids.toml_file import grid_of
from launch.toml import flat, toml_text

WHERE = "cxr grid sweep"
WORDS = {
    "data.subset": "size",
    "data.dataset": "dataset",
    "network.name": "network",
    "network.scope": "scope",
    "init": "init",
    "init.kind": "init",
    "init.name": "init",
    "objective.beta": "beta",
    "objective.method": "method",
    "objective.teacher": "teacher",
    "objective.teacher.kind": "teacher",
    "objective.teacher.name": "teacher",
}
"""Words of a grid's name template that stand for a key; others are known by their own."""


def sweep_toml(path: Path, settings: Sequence[str], seeds: int | None = None) -> str:
    """Return the grid TOML of the run of this config under all combinations of values, each with so many seeds.

    Runs that it needs, which the config names by their folders, become rows of the grid.

    Args:
        path: TOML config of the run, as ``cxr train`` takes it.
        settings: ``KEY=VALUE,VALUE`` each, the key dotted.
        seeds: seeds 0, 1, .. of each combination; None keeps the config's own.

    Raises:
        InputError: for an unreadable config, a setting of another form, or what no run's config holds.
    """
    from harness.config.parse import with_joined_data
    from harness.training.config_file import load_config, read_values

    config, _ = load_config(path)
    needs = {need.run_id: need for need in _ancestors(config)}
    values = {key: value for key, value in read_values(path).items() if key != "runtime"}
    values = with_joined_data(values, str(path))
    for table in (values.get("init", {}), values.get("objective", {}).get("teacher", {})):
        if isinstance(table.get("run"), str):
            table["run"] = f"need_{load_config(Path(table['run']))[0].run_id}"
    swept = dict(map(_setting, settings))
    for key, found in swept.items():
        _put(values, key, found[0] if len(found) == 1 else found)
    name = "".join([path.stem, *(f"_{{{WORDS.get(key, key)}}}" for key, found in swept.items() if len(found) > 1)])
    if seeds is not None:
        values.pop("seed", None)
        values = {"seeds": seeds, **values}
    rows = [{"name": f"need_{run_id}", "kind": "prerequisite", **to_dict(need)} for run_id, need in needs.items()]
    lines = [f"name = {toml_text(f'{path.stem}_sweep')}"]
    for row in [*rows, {"name": name, **values}]:
        lines += ["", "[[runs]]", *(f"{key} = {toml_text(value)}" for key, value in flat(row))]
    text = "\n".join(lines) + "\n"
    grid = grid_of(tomllib.loads(text), WHERE)
    assert needs.keys() <= grid.by_id.keys()
    return text


def _ancestors(config: RunConfig) -> Iterator[RunConfig]:
    """Yield the runs that a run needs, each after its own needs."""
    for need in config.needs:
        yield from _ancestors(need)
        yield need


def _setting(text: str) -> tuple[str, list[Any]]:
    """Return the key and the values of ``KEY=VALUE,VALUE``; a value that is no TOML is a text."""
    key, equals, given = text.partition("=")
    if not equals or not key.strip() or not given.strip():
        raise InputError(f"--set {text}: expected KEY=VALUE,VALUE, as schedule.learning_rate=1e-4,5e-5")
    key = key.strip()
    table, _, field = key.partition(".")
    if table in TABLES and get_type_hints(TABLES[table]).get(field) is str:
        return key, [part.strip() for part in given.split(",")]
    try:
        return key, tomllib.loads(f"x = [{given}]")["x"]
    except tomllib.TOMLDecodeError:
        return key, [_value(part.strip()) for part in given.split(",")]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise InputError(f"--set {key}: {table} is a single value, not a table of keys")
    values[last] = value
