"""Estimate how long runs take: images, GPU-hours and critical path, from configs and from what finished runs took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from datasets.sources.registry import entry_or_own, parse_subset
from harness.config import NETWORKS, RunConfig
from launch.grids.grid import GridRun, needs_first
from launch.plan.run_state import ABSENT, RunState

TRAIN_STEP = 3.0
"""A step is one forward and one backward pass, and the latter costs about two forward passes."""
CARD = "one H200 with torch 2.11, bf16, 256 px, batch 32"
"""Where these rates of DenseNet-121 were measured; they stand in for those of a grid without a finished run."""
TRANSFER_IMAGES_PER_S, ATTENTION_IMAGES_PER_S, VALIDATION_IMAGES_PER_S = 1747.0, 1415.0, 2829.0
CARD_RATES = (
    f"{CARD}: DenseNet-121 {TRANSFER_IMAGES_PER_S:,.0f} images/s, {ATTENTION_IMAGES_PER_S:,.0f} with a teacher, "
    f"{VALIDATION_IMAGES_PER_S:,.0f} in validation; other networks by their cost"
)

Splits = Mapping[str, Mapping[str, int]]
Shape = tuple[str, str, str]
"""Network, scope and method: runs of one shape cost the same for each image."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run computes over all its epochs."""

    train_images: int = 0
    """Images that pass the network forward and back."""
    teacher_images: int = 0
    """Of these, images that pass a teacher too."""
    validation_images: int = 0
    passes: float = 0.0
    """All of it in forward passes of one image through DenseNet-121."""

    @property
    def images(self) -> int:
        """Training and validation images."""
        return self.train_images + self.validation_images


def run_work(config: RunConfig, splits: Splits) -> Work:
    """Return what a run computes when it stops at its last epoch and no earlier."""
    epochs, parts = config.schedule.last_epoch - config.first_epoch, config.data.parts
    sizes = [{**entry_or_own(name).split_sizes, **splits.get(name, {})} for name, _ in parts]
    asked = [(parse_subset(subset), size["train"]) for (_, subset), size in zip(parts, sizes, strict=True)]
    train = epochs * sum(most if count is None else min(count, most) for count, most in asked)
    validation = -(-epochs // config.schedule.validate_every) * sum(size["validation"] for size in sizes)
    return Work(
        train_images=train,
        teacher_images=0 if config.objective.teacher is None else train,
        validation_images=validation,
        passes=train * train_passes(config) + validation * network_size(config.network.name)[0],
    )


def run_works(runs: Iterable[GridRun], splits: Splits) -> dict[str, Work]:
    """Return the work of each run, by run id; it is computed once for runs that differ in their seeds alone."""
    made: dict[tuple[int, ...], Work] = {}
    works: dict[str, Work] = {}
    for run in runs:
        config = run.config
        parts = (id(config.data), id(config.network), id(config.objective), id(config.schedule))
        if parts not in made:
            made[parts] = run_work(config, splits)
        works[run.run_id] = made[parts]
    return works


def shape_of(config: RunConfig) -> Shape:
    """Return what runs of the same speed have in common."""
    return config.network.name, config.network.scope, config.objective.method


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Forward passes of one image through DenseNet-121 that one GPU does in a second, while it trains."""

    measured: Mapping[Shape, float] = field(default_factory=dict)
    """From finished runs, by their shape."""
    otherwise: float | None = None
    """For all other shapes; None takes the rates of ``CARD``, which know validation apart."""
    source: str = CARD_RATES
    """Where it comes from, in words."""

    def seconds(self, config: RunConfig, work: Work) -> float:
        """Return the GPU-seconds that a run of this config takes for its work."""
        passes_per_s = self.measured.get(shape_of(config), self.otherwise)
        return card_seconds(config, work) if passes_per_s is None else work.passes / passes_per_s


def card_seconds(config: RunConfig, work: Work) -> float:
    """Return the seconds that ``CARD`` takes; what was not measured there goes by its cost beside DenseNet-121's."""
    with_teacher = config.objective.teacher is not None
    passes = TRAIN_STEP + with_teacher
    rate = ATTENTION_IMAGES_PER_S if with_teacher else TRANSFER_IMAGES_PER_S
    validation = work.validation_images * network_size(config.network.name)[0] / VALIDATION_IMAGES_PER_S
    return work.train_images * train_passes(config) / (passes * rate) + validation


def measure(
    runs: Sequence[GridRun], found: Mapping[str, RunState], splits: Splits, given: float | None = None
) -> Throughput:
    """Measure the throughput of finished runs, their whole time counted.

    ``given`` (training images of DenseNet-121 per second and GPU) or ``CARD``'s rates are used where none has
    finished, the median of the measured where only runs of other shapes have.
    """
    rates: dict[Shape, list[float]] = defaultdict(list)
    works = run_works(runs, splits)
    for run in runs:
        state = found.get(run.run_id, ABSENT)
        epochs, first = state.epoch or state.epochs or 0, run.config.first_epoch
        if state.state == "done" and state.gpu_seconds and epochs > first:
            share = (epochs - first) / (run.config.schedule.last_epoch - first)
            rates[shape_of(run.config)].append(share * works[run.run_id].passes / state.gpu_seconds)
    measured = {shape: median(values) for shape, values in rates.items()}
    if not measured and given is None:
        return Throughput()
    if given is None:
        otherwise, rest = median(measured.values()), "their median for other networks and methods"
    else:
        otherwise, rest = given * TRAIN_STEP, f"{given:g} images/s given"
    if not measured:
        return Throughput(otherwise=otherwise, source=rest)
    count = sum(map(len, rates.values()))
    source = f"{count} finished {'run' if count == 1 else 'runs'}; {rest}"
    return Throughput(measured=measured, otherwise=otherwise, source=source)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the runs of a plan take."""

    works: Mapping[str, Work]
    """By run id."""
    hours: Mapping[str, float]
    """GPU-hours by run id, of the whole run."""
    left: Mapping[str, float]
    """GPU-hours by run id that a run still takes; 0 for a done one."""
    chain: tuple[GridRun, ...]
    """The critical path of what is left: the costliest chain of runs of which each needs the one before."""
    throughput: Throughput

    @property
    def chain_hours(self) -> float:
        """Hours until the last run ends, however many GPUs there are."""
        return sum(self.left[run.run_id] for run in self.chain)


def estimate(
    runs: Sequence[GridRun], found: Mapping[str, RunState], splits: Splits, given: float | None = None
) -> Estimate:
    """Estimate images, GPU-hours and the critical path of these runs; ``given`` as ``measure`` takes it."""
    throughput = measure(runs, found, splits, given)
    works = run_works(runs, splits)
    by_work: dict[int, float] = {}
    for run in runs:
        work = works[run.run_id]
        if id(work) not in by_work:
            by_work[id(work)] = throughput.seconds(run.config, work) / 3600.0
    hours = {run_id: by_work[id(work)] for run_id, work in works.items()}
    left = {run.run_id: hours[run.run_id] * _left_of(run, found.get(run.run_id, ABSENT)) for run in runs}
    return Estimate(works=works, hours=hours, left=left, chain=longest_chain(runs, left), throughput=throughput)


def disk_gb(run: GridRun) -> float:
    """Return the disk that a done run fills: its best weights, four bytes a parameter."""
    return 4e-9 * network_size(run.config.network.name)[1]


def network_size(network: str) -> tuple[float, int]:
    """Return a network's relative cost and number of parameters; those of a library's are counted, with torch."""
    entry = NETWORKS[network]
    if entry.relative_cost is not None:
        return entry.relative_cost, entry.num_parameters
    from harness.networks import library_size

    return library_size(network)


def _left_of(run: GridRun, state: RunState) -> float:
    return share_left(state, run.config.first_epoch)


def share_left(state: RunState, first_epoch: int = 0) -> float:
    """Return the part of a run that is still to be computed, 0..1; ``first_epoch`` epochs were another run's."""
    if state.state == "done":
        return 0.0
    if not state.epoch or not state.epochs or state.epochs <= first_epoch or state.state == "stale":
        return 1.0
    return min(1.0, max(0.0, (state.epochs - state.epoch) / (state.epochs - first_epoch)))


def critical_paths(runs: Sequence[GridRun], splits: Splits) -> dict[str, float]:
    """Return for each run id the cost of the costliest chain that starts with it and goes on to what needs it.

    Starting the run with the longest chain first keeps the last runs from waiting for one late prerequisite.
    """
    return chains(runs, {run_id: work.passes for run_id, work in run_works(runs, splits).items()})


def chains(runs: Sequence[GridRun], costs: Mapping[str, float]) -> dict[str, float]:
    """Return critical paths for costs of any unit, by run id."""
    longest_after: dict[str, float] = {}
    paths: dict[str, float] = {}
    for run in reversed(needs_first(runs)):
        paths[run.run_id] = costs[run.run_id] + longest_after.get(run.run_id, 0.0)
        for need in run.needs:
            longest_after[need] = max(longest_after.get(need, 0.0), paths[run.run_id])
    return paths


def longest_chain(runs: Sequence[GridRun], costs: Mapping[str, float]) -> tuple[GridRun, ...]:
    """Return the costliest chain, each run after the one that it needs; runs that cost nothing are left out."""
    paths = chains(runs, costs)
    chain: list[GridRun] = []
    following: Sequence[GridRun] = runs
    while following and paths[(run := max(following, key=lambda run: paths[run.run_id])).run_id] > 0.0:
        chain.append(run)
        following = [other for other in runs if run.run_id in other.needs]
    return tuple(run for run in chain if costs[run.run_id] > 0.0)


def seconds_to_go(run: GridRun, state: RunState, splits: Splits) -> float | None:
    """Return the seconds until a running run ends at the speed that it reports; None while it reports none."""
    if state.state != "running" or not state.images_per_s:
        return None
    work = run_work(run.config, splits)
    return _left_of(run, state) * work.passes / (state.images_per_s * train_passes(run.config))


def train_passes(config: RunConfig) -> float:
    """Return the forward passes through DenseNet-121 that one training image costs."""
    student, teacher = network_size(config.network.name)[0], config.objective.teacher
    if teacher is None:
        return TRAIN_STEP * student
    return TRAIN_STEP * student + network_size(teacher.teaching_network.name)[0]


def hours_to_go(cost: Estimate, at_once: int) -> float:
    """Return the hours until the grid is done with so many runs at once, at least those of the critical path."""
    return max(cost.chain_hours, sum(cost.left.values()) / max(1, at_once))
