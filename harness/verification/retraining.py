"""Train a run's first steps again in another folder, and compare what it left with what the run left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.config import RunConfig
from harness.runs.folder import RunFolder
from harness.verification.check import Check, compared, not_checked
from harness.verification.predictions import other_arithmetic
from harness.verification.recorded import RecordedRun

KEPT = ("augment_on", "compile", "cuda_graphs", "on_nonfinite")
"""Fields of the run's RuntimeConfig under which its steps are made again."""
MEASURED = ("step", "learning_rate", "train", "validation", "skipped_steps")
"""Of a line of metrics.jsonl, what does not depend on the machine."""
STEPS, EPOCHS, RESULT = "training steps", "training epochs", "training result"


def recorded_steps(run: RecordedRun, steps: int) -> list[dict[str, Any]]:
    """The hashed steps of the run among its first ``steps``."""
    return [line for line in run.folder.steps() if line["step"] <= steps]


def retraining_config(run: RecordedRun) -> RunConfig:
    """The config to train again: of a later rung of a beta search by halving, which went on with another run's
    checkpoint, that of its point from the first step on, which has the same bits.

    Raises:
        ValueError: when the run's beta is no point of its search.
    """
    search = run.config.promotion
    if search is None:
        return run.config
    point = search.full.runs[search.points.index(run.result.get("beta"))]
    return replace(point, schedule=run.config.schedule)


def retraining_options(run: RecordedRun, steps: int) -> dict[str, Any]:
    """Fields of RuntimeConfig under which the first ``steps`` give the run's bits; of a run that recorded its steps.

    One step more is made, so that the record of an epoch that ends with the last of them is written.
    """
    first = recorded_steps(run, steps)[0]
    recorded = run.provenance.get("runtime") or {}
    imagenet, xrv = recorded.get("imagenet_weights"), recorded.get("xrv_weights")
    return {
        **{name: recorded[name] for name in KEPT if name in recorded},
        "imagenet_weights": Path(imagenet) if imagenet else None,
        "xrv_weights": tuple(map(Path, xrv or ())),
        "num_processes": first["processes"],
        "max_steps": steps + 1,
        "checkpoint_minutes": 0.0,
    }


def obstacle(run: RecordedRun, steps: int, ours: Mapping[str, Any]) -> Check | None:
    """Why the first steps cannot be compared here; None where they can."""
    lines = recorded_steps(run, steps)
    search, beta = run.config.promotion, run.result.get("beta")
    if search is not None and beta not in search.points:
        return Check(name=STEPS, outcome="failed", what=f"beta is {beta}, which is no point of the run's search")
    if not lines:
        why = "the run has no hashes of its first steps (steps.jsonl): code that trained it did not record them"
        return not_checked(STEPS, why, "train the run again with this version")
    differs = other_arithmetic(_arithmetic(lines[0]), {**ours, "processes": lines[0].get("processes")})
    if differs:
        return not_checked(STEPS, f"bits are equal on equal devices alone ({differs})", "verify on such a machine")
    return None


def compare_retraining(run: RecordedRun, steps: int, again: RunFolder) -> Iterator[Check]:
    """Compare the first ``steps`` of the run with those of ``again``: weights, whole epochs, the result."""
    lines = recorded_steps(run, steps)
    here = {line["step"]: line for line in again.steps()}
    same = [line for line in lines if _arithmetic(line) == _arithmetic(here.get(line["step"], {}))]
    if not same:
        differs = other_arithmetic(_arithmetic(lines[0]), _arithmetic(here.get(lines[0]["step"], {})))
        yield not_checked(STEPS, f"bits are equal on equal devices alone ({differs})", "verify on such a machine")
        return
    numbers = ", ".join(str(line["step"]) for line in same)
    yield compared(
        STEPS,
        f"the weights after steps {numbers} are the run's, bit for bit",
        expected={f"step {line['step']}": line["weights_hash"] for line in same},
        found={f"step {line['step']}": here[line["step"]]["weights_hash"] for line in same},
    )
    if len({str(_arithmetic(line)) for line in run.folder.steps()}) > 1:
        yield not_checked(
            EPOCHS, "the run went on with other arithmetic than it began with", "compare its steps alone"
        )
        return
    yield from _epochs(run, again)
    yield from _result(run, again)


def _epochs(run: RecordedRun, again: RunFolder) -> Iterator[Check]:
    """Compare the lines of metrics.jsonl of the epochs that were trained whole."""
    recorded = {line.get("epoch"): _measured(line) for line in run.folder.metrics()}
    found = {line["epoch"]: _measured(line) for line in again.metrics()}
    if found:
        yield compared(
            EPOCHS,
            f"losses and scores of {len(found):,} epochs are those of metrics.jsonl",
            expected={f"epoch {epoch}": recorded.get(epoch) for epoch in found},
            found={f"epoch {epoch}": measured for epoch, measured in found.items()},
        )


def _result(run: RecordedRun, again: RunFolder) -> Iterator[Check]:
    """Compare the results of a run that was trained again to its end."""
    result = again.result()
    if result is not None:
        keys = ("best_epoch", "weights_hash", "validation", "test")
        yield compared(
            RESULT,
            "trained again to its end, the run has the same best weights and the same scores",
            expected={key: run.result[key] for key in keys},
            found={key: result[key] for key in keys},
        )


def _measured(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: line.get(key) for key in MEASURED}


def _arithmetic(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("step", "weights_hash")}
