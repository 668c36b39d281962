"""Score a run's best weights on a split, and write predictions as parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.beton.mixed import open_beton
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.files import write_json
from datasets.loading.batch import Loader
from datasets.loading.options import LoaderOptions, ShardOptions
from datasets.loading.tiers import open_tier
from datasets.sources.labels import finding
from harness.devices.accelerator import Accelerator, loader_threads, make_accelerator
from harness.evaluation.inference import Predictions, predict
from harness.evaluation.metrics import score
from harness.networks import Network, network_with
from harness.runs.checkpoint import best_epoch
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.weights.weight_files import read_best

EVAL_BATCH_SIZES = {"cpu": 64, "cuda": 256}
"""Images per process in one forward pass without gradients, by the device's type; they change no score. A GPU is not
full with fewer."""


def evaluate_run(
    folder: RunFolder,
    split: str,
    runtime: RuntimeConfig,
    *,
    dataset: str | None = None,
    seen: Sequence[str] = (),
) -> dict[str, Any]:
    """Score a run's best checkpoint on a split of a beton; the run may still be unfinished.

    ``split`` train means the run's own training subset. The beton is ``runtime.beton``, or the one of the run's
    dataset in ``runtime.data_dir``.

    Args:
        folder: the run's.
        split: train, validation or test.
        runtime: says where betons lie and how to compute.
        dataset: another dataset to score on, over the labels that it shares with the run; the scores are kept in
            ``folder.evaluations_dir`` too.
        seen: what the weights have seen of the split in training; stands in the result as ``seen_in_training``.

    Returns:
        run_id, dataset, split, content_hash, best_epoch (from 0), and what ``Scores.to_dict`` says; of another
        dataset also ``left_out``, the run's labels that it lacks.

    Raises:
        InputError: when there is no checkpoint, it is another run's, or the beton's labels or image size are not the
            network's.
    """
    config = folder.config()
    tensors, metadata = read_best(config, folder)
    outputs = tuple(json.loads(metadata["labels"]))
    beton = open_beton(runtime.beton_for(dataset or config.data.dataset))
    if dataset is None:
        labels, columns = outputs, label_columns(beton, outputs, folder.path)
    else:
        shared = shared_labels(beton, outputs, folder.path)
        labels, columns = tuple(shared), list(shared.values())
    _check_size(beton, config.data.image_size, folder.path)
    accelerator = make_accelerator(runtime)
    network = network_with(config.network, tensors, len(outputs), accelerator.device)
    subset = config.data.subset if split == "train" and beton.sidecar.dataset == config.data.dataset else "full"
    predictions = predict_split(accelerator, network, beton, split, runtime, subset=subset)
    logits = predictions.logits[:, [outputs.index(label) for label in labels]]
    result = {
        "run_id": config.run_id,
        "dataset": beton.sidecar.dataset,
        "split": split,
        "content_hash": beton.sidecar.content_hash,
        "best_epoch": best_epoch(folder.best_dir),
        **score(logits, predictions.targets[:, columns], labels).to_dict(),
    }
    if seen:
        result["seen_in_training"] = list(seen)
    if dataset is not None:
        result["left_out"] = [label for label in outputs if label not in labels]
        if accelerator.is_main_process:
            folder.evaluations_dir.mkdir(exist_ok=True)
            write_json(folder.evaluations_dir / f"{dataset}_{split}.json", result)
    return result


def _check_size(beton: Beton, size: int, owner: Path) -> None:
    if beton.image_size != size:
        trained = f"{owner} was trained on {size} px; convert with --size {size}"
        raise InputError(f"{beton.path}: images of {beton.image_size} px, but {trained}")


def shared_labels(beton: Beton, outputs: Sequence[str], owner: Path) -> dict[str, int]:
    """The network's labels that a beton has too, in the network's order, and where each stands among the beton's.

    A label of the same name counts, else one for the same finding: 'Effusion' for 'Pleural Effusion'.

    Raises:
        InputError: when there is none.
    """
    places = {finding(label): place for place, label in enumerate(beton.labels)}
    places |= {label: place for place, label in enumerate(beton.labels)}
    found = {label: places.get(label, places.get(finding(label))) for label in outputs}
    shared = {label: place for label, place in found.items() if place is not None}
    if not shared:
        raise InputError(
            f"{beton.path}: it has none of the labels of {owner}: {', '.join(beton.labels)} there, "
            f"{', '.join(outputs)} here"
        )
    return shared


def label_columns(beton: Beton, labels: Sequence[str], owner: Path) -> list[int]:
    """Where the network's labels stand among the beton's, matched by name.

    Raises:
        InputError: unless both have the same set of labels: outputs of other labels would give plausible nonsense.
    """
    if set(beton.labels) != set(labels):
        only_run = ", ".join(sorted(set(labels) - set(beton.labels))) or "none"
        only_beton = ", ".join(sorted(set(beton.labels) - set(labels))) or "none"
        raise InputError(
            f"{beton.path}: its labels are not those of {owner} (only in the run: {only_run}; only in the beton: "
            f"{only_beton}); evaluate on a beton with the labels that the run was trained on"
        )
    return [beton.labels.index(label) for label in labels]


def predict_split(
    accelerator: Accelerator,
    network: Network,
    beton: Beton,
    split: str,
    runtime: RuntimeConfig,
    *,
    subset: str = "full",
) -> Predictions:
    """Logits of every image of a split; targets in the beton's order of labels."""
    indices = beton.indices(split, subset)
    loader = split_loader(accelerator, beton, indices, runtime)
    return predict(accelerator, network, loader, indices, runtime, num_targets=len(beton.labels))


def split_loader(
    accelerator: Accelerator, beton: Beton, indices: Any, runtime: RuntimeConfig, *, shard: ShardOptions | None = None
) -> Loader:
    """Loader that gives every process its share of ``indices``, in fixed order, with nothing augmented or padded.

    ``shard`` is another share than that of this process.
    """
    shard = shard or ShardOptions(accelerator.process_index, accelerator.num_processes)
    options = LoaderOptions(
        batch_size=EVAL_BATCH_SIZES[accelerator.device.type] * shard.world_size,
        shuffle=False,
        num_workers=loader_threads(runtime),
        check_pages=runtime.check_pages,
    )
    return open_tier(beton, indices, options, tier=runtime.tier, shard=shard, device=accelerator.device)
