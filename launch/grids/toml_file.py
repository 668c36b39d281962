"""Read a grid from a TOML file, whose rows are products of config tables.

Each ``[[runs]]`` row holds what a run's config holds, above what ``[defaults]`` says. A list stands for each of its
values in turn, so a row with two lists is their product. ``docs/grids/`` has examples that explain every key.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from datasets.errors import InputError, did_you_mean, known_words
from datasets.files import read_toml
from harness.config import (
    NETWORKS,
    OBJECTIVES,
    SCHEDULE_PRESETS,
    AttentionTransfer,
    BetaSearch,
    RunConfig,
    TransferLearning,
    from_dict,
    to_dict,
)
from launch.grids.grid import Grid, GridRun, Kind
from launch.grids.selection import methods_of
from launch.toml import check_keys

TOP_KEYS = ("name", "defaults", "runs")
ROW_KEYS = ("name", "kind", "cells", "seeds")
"""What a row says beside its config."""
SEARCH_KEYS = ("points", "pruner", "min_resource", "reduction_factor")
CHOOSERS = ("kind", "method", "preset")
"""A table that sets one of these takes nothing from the default table of its name."""


CONFIG_KEYS = tuple(field.name for field in dataclasses.fields(RunConfig))
MAX_RUNS = 100_000
"""Most runs of a row: a typing error in a count must not fill the memory."""
MAX_BETA = 1e12
MAX_SEED = 2**63
PLACEHOLDER = re.compile(r"\{([a-z0-9_.]*)\}")


def load_grid_toml(path: Path) -> Grid:
    """Return the grid that the file describes.

    Raises:
        InputError: one line with file, row and key, for an unreadable file, an unknown key, a wrong value, a name of
            no run above, or a name that stands for several runs.
    """
    return grid_of({"name": path.stem, **read_toml(path, "grid file")}, str(path))


def grid_of(values: Mapping[str, Any], where: str) -> Grid:
    """Return the grid that a file's values describe; ``where`` names the file in errors.

    Raises:
        InputError: as ``load_grid_toml``.
    """
    check_keys(values, TOP_KEYS, where)
    rows = values.get("runs")
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{where}: has no runs; expected at least one [[runs]] table")
    defaults = as_table(values.get("defaults", {}), f"{where}: defaults")
    check_keys(defaults, CONFIG_KEYS, f"{where}: defaults")
    name = values.get("name", "")
    if not isinstance(name, str):
        raise InputError(f"{where}: name = {name!r}; expected a text")
    runs: dict[str, GridRun] = {}
    for number, row in enumerate(rows, start=1):
        for run in _Row(as_table(row, f"{where}: runs[{number}]"), defaults, f"{where}: runs[{number}]").runs(runs):
            runs[run.name] = run
    try:
        ordered = sorted(runs.values(), key=lambda run: get_args(Kind).index(run.kind))
        return Grid(name=name, runs=tuple(ordered))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


class _Row:
    """One ``[[runs]]`` table: a name, a kind, and the product of its config's lists."""

    def __init__(self, row: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
        self.where = f"{where} ({row['name']})" if "name" in row else where
        check_keys(row, (*ROW_KEYS, *CONFIG_KEYS), self.where)
        self.template: str | None = row.get("name")
        if not isinstance(row.get("name", ""), str):
            raise InputError(f"{where}: name = {self.template!r}; expected a text")
        self.kind: Kind = row.get("kind", "repetition")
        cells = row.get("cells", [])
        if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
            raise InputError(f"{self.where}: cells = {cells!r}; expected a list of names")
        self.cells = tuple(cells)
        if self.kind not in get_args(Kind):
            known = known_words(str(self.kind), get_args(Kind))
            raise InputError(f"{self.where}: kind {self.kind!r} is unknown; {known}")
        self.config = _merged(defaults, {key: value for key, value in row.items() if key in CONFIG_KEYS})
        if "seeds" in row:
            self.config = {**self.config, "seed": self._seeds(row)}
        self._needs_by_seed = "{seed}" in repr([self.config.get("init"), self.config.get("objective")])
        self._last: tuple[Mapping[str, Any], RunConfig] | None = None

    def _seeds(self, row: Mapping[str, Any]) -> list[int]:
        seeds = row["seeds"]
        if "seed" in row:
            raise InputError(f"{self.where}: give seed or seeds, not both")
        if type(seeds) is int and 1 <= seeds <= MAX_RUNS:
            return list(range(seeds))
        if isinstance(seeds, list) and seeds:  # each is checked with its run's config
            return seeds
        raise InputError(
            f"{self.where}: seeds = {seeds!r}; expected a count of at least 1 or a list of seeds, and no more than "
            f"{MAX_RUNS:,}"
        )

    def runs(self, above: Mapping[str, GridRun]) -> Iterator[GridRun]:
        """Yield the row's runs and the points of their searches; ``above`` are the grid's runs so far, by name."""
        points = {run.run_id for run in above.values()}
        taken: dict[str, RunConfig] = {}
        if not 1 <= (count := num_values(self.config)) <= MAX_RUNS:
            raise InputError(f"{self.where}: its lists make {count:.3g} runs; expected 1 to {MAX_RUNS:,}")
        for values in expand(self.config):
            config = self._config(values, above)
            name = self._name(config)
            if name in taken or name in above:
                other = taken[name] if name in taken else above[name].config
                raise InputError(f"{self.where}: {name} would name two runs; {_advice(self.template, config, other)}")
            taken[name] = config
            for point in self._search_points(config):
                if point.run_id not in points:
                    points.add(point.run_id)
                    yield point
            yield GridRun(name=name, kind=self.kind, config=config, cells=self.cells)

    def _config(self, values: Mapping[str, Any], above: Mapping[str, GridRun]) -> RunConfig:
        """Return the config of one point of the product; points that differ in the seed alone share all else."""
        rest, seed = {key: value for key, value in values.items() if key != "seed"}, values.get("seed")
        if self._last is not None and type(seed) is int and 0 <= seed < MAX_SEED and not self._needs_by_seed:
            before, made = self._last
            if all(one is other for one, other in zip(rest.values(), before.values(), strict=True)):
                return dataclasses.replace(made, seed=seed)
        self._last = rest, self._checked(values, above)
        return self._last[1]

    def _checked(self, values: Mapping[str, Any], above: Mapping[str, GridRun]) -> RunConfig:
        """Return the config that these values describe."""
        values = {**values, "schedule": self._schedule(self._table(values, "schedule"))}
        simple = {
            key: value for key, value in values.items() if key in ("data", "network", "schedule", "loss", "seed")
        }
        if "data" not in simple:
            raise InputError(f"{self.where}: data is missing; expected a table with at least dataset")

        def words() -> RunConfig:
            return from_dict(simple, where=self.where)

        search: Mapping[str, Any] | None = None
        objective = dict(self._table(values, "objective"))
        if objective:
            method = objective.setdefault("method", TransferLearning.method)
            if not isinstance(method, str) or method not in OBJECTIVES:
                known = known_words(str(method), OBJECTIVES)
                raise InputError(f"{self.where}.objective.method: {method!r} is unknown; {known}")
            if isinstance(objective.get("beta"), Mapping):
                search = objective.pop("beta")
                check_keys(search, SEARCH_KEYS, f"{self.where}.objective.beta")
            if "teacher" in objective:
                objective["teacher"] = self._weights(self._table(objective, "teacher"), above, words)
            values["objective"] = objective
        if "init" in values:
            values["init"] = self._weights(self._table(values, "init"), above, words)
        config = from_dict(values, where=self.where)
        return config if search is None else self._searched(config, search)

    def _table(self, values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        return as_table(values.get(key, {}), f"{self.where}.{key}")

    def _schedule(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """Return the table, laid over the values of its preset."""
        own = {key: value for key, value in table.items() if key != "preset"}
        if "preset" not in table:
            return own
        preset = table["preset"]
        if not isinstance(preset, str) or preset not in SCHEDULE_PRESETS:
            known = known_words(str(preset), SCHEDULE_PRESETS)
            raise InputError(f"{self.where}.schedule.preset: {preset!r} is unknown; {known}")
        return {**to_dict(SCHEDULE_PRESETS[preset]()), **own}

    def _weights(
        self, table: Mapping[str, Any], above: Mapping[str, GridRun], words: Callable[[], RunConfig]
    ) -> Mapping[str, Any]:
        """Return the table with the name of a run above replaced by that run's config."""
        if not isinstance(table.get("run"), str):
            return table
        name = self._filled(table["run"], words) if "{" in table["run"] else table["run"]
        if name not in above:
            hint = did_you_mean(name, above) or f"runs above: {', '.join(list(above)[:5]) or 'none'}"
            raise InputError(f"{self.where}: run = {name!r} names no run above this row; {hint.strip()}")
        return {"kind": "run", **table, "run": to_dict(above[name].config)}

    def _searched(self, config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
        """Return the config with its beta chosen by a search at its own size with seed 0."""
        if not isinstance(config.objective, AttentionTransfer):
            raise InputError(f"{self.where}: objective.beta: only attention_transfer has one")
        points = values.get("points")
        numbers: list[Any] = points if isinstance(points, list) else []
        if not numbers or not all(type(point) in (int, float) and 0 < point < MAX_BETA for point in numbers):
            raise InputError(f"{self.where}: objective.beta.points: expected a list of numbers above 0")
        options = {key: value for key, value in values.items() if key != "points"}
        counts = (key for key in ("min_resource", "reduction_factor") if type(options.get(key, 0)) is not int)
        for key in counts:
            raise InputError(f"{self.where}: objective.beta.{key} = {options[key]!r}; expected a whole number")
        template = dataclasses.replace(config, seed=0)
        try:
            search = BetaSearch(template=template, points=tuple(map(float, numbers)), **options)
        except ValueError as error:
            raise InputError(f"{self.where}: objective.beta: {error}") from None
        return dataclasses.replace(config, objective=dataclasses.replace(config.objective, beta=search))

    def _search_points(self, config: RunConfig) -> Iterator[GridRun]:
        """Yield the runs of the search that chooses the config's beta, if one does, named after the row."""
        if isinstance(config.objective, AttentionTransfer) and isinstance(config.objective.beta, BetaSearch):
            search = config.objective.beta
            own = search.template.name if self.template is None else self.template
            name = f"search_{self._filled(own, lambda: search.template)}"
            for words, point in search.named_runs().items():
                yield GridRun(name=f"{name}_{words}", kind="search", config=point)

    def _name(self, config: RunConfig) -> str:
        if self.template is None:
            return config.name
        seeds = isinstance(self.config.get("seed"), list) and "{seed}" not in self.template
        return self._filled(self.template + "_r{seed}" * seeds, lambda: config)

    def _filled(self, template: str, about: Callable[[], RunConfig]) -> str:
        """Return the template with each ``{key}`` replaced by the run's own value."""
        config = about()
        words = {key: word_of(config, key) for key in PLACEHOLDER.findall(template)}
        for key in words:
            if words[key] is None:
                raise InputError(f"{self.where}: {{{key}}} is unknown; {known_words(key, words_of(config))}")
        return PLACEHOLDER.sub(lambda match: words[match[1]] or "", template)


def expand(value: Any, key: str = "") -> Iterator[Any]:
    """Yield every value without lists that a value with lists stands for; a later list varies faster."""
    if isinstance(value, Mapping):
        parts = [list(expand(inner, name)) for name, inner in value.items()]
        for combination in itertools.product(*parts):
            yield dict(zip(value, combination, strict=True))
    elif isinstance(value, list) and key != "points":
        for item in value:
            yield from expand(item, key)
    else:
        yield value


def num_values(value: Any, key: str = "") -> int:
    """How many values ``expand`` yields."""
    if isinstance(value, Mapping):
        return math.prod(num_values(inner, name) for name, inner in value.items())
    if isinstance(value, list) and key != "points":
        return sum(num_values(item, key) for item in value)
    return 1


SHORT_WORDS: dict[str, Callable[[RunConfig], str]] = {
    "dataset": lambda config: config.data.dataset,
    "size": lambda config: config.data.subset,
    "network": lambda config: config.network.name.replace("/", "-"),
    "short": lambda config: NETWORKS[config.network.name].short_name,
    "scope": lambda config: config.network.scope,
    "init": lambda config: config.init.source,
    "method": lambda config: max(methods_of(config) - {str(config.objective.method)}, key=len),
    "teacher": lambda config: "none" if config.objective.teacher is None else config.objective.teacher.source,
    "beta": lambda config: _beta_word(getattr(config.objective, "beta", None)),
    "seed": lambda config: str(config.seed),
}
WORD_TABLES = ("data", "network", "schedule", "loss", "objective")


def word_of(config: RunConfig, key: str) -> str | None:
    """Return what ``{key}`` stands for in a name: a short word, or a plain value by its dotted key."""
    if key in SHORT_WORDS:
        return SHORT_WORDS[key](config)
    table, _, name = key.partition(".")
    values = vars(getattr(config, table)) if table in WORD_TABLES else {}
    if name not in values or name.startswith("_") or not isinstance(values[name], str | int | float | None):
        return None
    return str(values[name])


def words_of(config: RunConfig) -> dict[str, str]:
    """Return all that a name may hold in braces."""
    dotted = [f"{table}.{name}" for table in WORD_TABLES for name in vars(getattr(config, table))]
    found = {key: word_of(config, key) for key in (*SHORT_WORDS, *dotted)}
    return {key: value for key, value in found.items() if value is not None}


def _beta_word(beta: Any) -> str:
    return f"{beta:g}" if isinstance(beta, int | float) else "search" if beta is not None else "none"


def _advice(template: Any, config: RunConfig, other: RunConfig) -> str:
    """Return how to tell two runs of one name apart."""
    if config == other:
        return "the two are the same run"
    mine, others = words_of(config), words_of(other)
    differing = [f"{{{key}}}" for key in mine if mine[key] != others[key]]
    return f"add {differing[0]} to the name" if template is not None and differing else "give each row its own name"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables key by key; a table that chooses what it is takes nothing from below."""
    merged = dict(below)
    for key, value in above.items():
        under = below.get(key)
        merges = isinstance(value, Mapping) and isinstance(under, Mapping) and not set(CHOOSERS) & set(value)
        merged[key] = _merged(under, value) if merges and under is not None else value
    return merged


def as_table(value: Any, where: str) -> Mapping[str, Any]:
    """Return the value, which must be a table; raise InputError where it is none."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected a table of keys, found {value!r}")
    return value
