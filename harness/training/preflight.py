"""Check a run's config, beton and folder before it starts.

Everything here is quick and reads no weights, so bad input is refused within seconds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

from datasets.beton.mixed import MixedBeton
from datasets.beton.mixed import open_beton as open_beton_file
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.files import write_json
from datasets.loading.balance import balance_groups
from datasets.sources.labels import POSITIVE
from datasets.sources.registry import entry_or_own, parts_of, share_images
from harness.config import SCHEMA_VERSION, LossOptions, RunConfig, to_dict
from harness.config.networks import is_library
from harness.evaluation.metrics import single_class_labels
from harness.runs.beta_search import Tried, promoted
from harness.runs.checkpoint_folder import whole_folder
from harness.runs.folder import RunFolder
from harness.runs.runtime import Precision, RuntimeConfig, launched_processes
from harness.runs.trackers import check_trackers

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CheckedRun:
    """A config with the data and the folder that fit it."""

    config: RunConfig
    runtime: RuntimeConfig
    folder: RunFolder
    beton: Beton

    @property
    def precision_before(self) -> Precision | None:
        """Arithmetic of the steps in the checkpoint that is there; None without one."""
        folder = self.folder
        if whole_folder(folder.last_dir) is None:
            if self.source is None:
                return None
            folder = self.source.folder
        found: Any = folder.provenance().get("precision")
        return found if found in get_args(Precision) else None

    @property
    def source(self) -> Tried | None:
        """The run that this one goes on with, as a later rung of a beta search.

        Raises:
            InputError: when the rung before is not done.
        """
        return promoted(self.config, self.runtime.folder_of)


def preflight(config: RunConfig, runtime: RuntimeConfig) -> tuple[CheckedRun, dict[str, Any] | None]:
    """Check a run before it starts.

    Returns:
        The checked run, and its result when it is already done.

    Raises:
        InputError: when beton or folder do not fit the config, or the config's batches cannot be trained on.
    """
    run = CheckedRun(
        config=config, runtime=runtime, folder=runtime.folder_of(config), beton=open_beton(config, runtime)
    )
    result = finished_result(run.folder, config, run.beton)
    if result is None:
        check_trackers(runtime.trackers)
        check_networks(config)
        check_labels(config, run.beton)
        check_batches(config, run.beton)
        check_loss(config.loss, run.beton)
        tell_balance(config, run.beton)
        check_mix(run.beton)
        warn_of_leaks(config)
    return run, result


def open_beton(config: RunConfig, runtime: RuntimeConfig) -> Beton:
    """The run's beton, checked against its config.

    Raises:
        InputError: when it holds another dataset, another image size, or too few images of a split.
    """
    beton = open_beton_file(runtime.beton_for(config.data.dataset))
    if beton.sidecar.dataset != config.data.dataset:
        raise InputError(f"{beton.path}: holds {beton.sidecar.dataset}, but the run's data are {config.data.dataset}")
    if beton.image_size != config.data.image_size:
        raise InputError(
            f"{beton.path}: images of {beton.image_size} px, but data.image_size = {config.data.image_size}; "
            f"convert with --size {config.data.image_size} or change the config"
        )
    for split in ("validation", "test"):
        beton.indices(split)
    beton.indices("train", config.data.subset)
    return beton


def finished_result(folder: RunFolder, config: RunConfig, beton: Beton) -> dict[str, Any] | None:
    """The result of this very run on this very beton, if it is there; None when there is still something to do.

    Raises:
        InputError: when the folder holds another run, or this run on other images.
    """
    if folder.config_file.exists():
        other = folder.config()
        if other.hash != config.hash:
            differing = ", ".join(_differing(to_dict(other), to_dict(config))[:4])
            raise InputError(
                f"{folder.path}: holds another run ({other.run_id}), whose config differs in {differing}; "
                "give another --out, or remove the folder"
            )
    recorded = folder.provenance()
    if recorded and recorded["content_hash"] != beton.sidecar.content_hash:
        raise InputError(
            f"{folder.path}: was trained on other images ({recorded['beton']}, {recorded['content_hash'][:15]}) than "
            f"{beton.path} holds now ({beton.sidecar.content_hash[:15]}); remove the folder or give another --out"
        )
    result = folder.result()
    if result is None or result["config_hash"] != config.hash:
        return None
    return result if result["content_hash"] == beton.sidecar.content_hash else None


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Keys in which two configs differ, as ``init.kind``."""
    keys: list[str] = []
    for key in sorted(one.keys() | other.keys()):
        first, second = one.get(key), other.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            keys += [f"{key}.{below}" for below in _differing(first, second)]
        elif first != second:
            keys.append(key)
    return keys


def write_config(folder: RunFolder, config: RunConfig) -> None:
    """Write config.json, from which the same run can be started again."""
    document = {
        "schema": SCHEMA_VERSION,
        "run_id": config.run_id,
        "name": config.name,
        "config": to_dict(config),
    }
    write_json(folder.config_file, document)


def check_networks(config: RunConfig) -> None:
    """Build a library's network, as student or teacher, for its shapes, and compare the planes of both.

    Raises:
        InputError: for what the library does not have, and for planes that the objective cannot pair, with what it
            could do instead.
    """
    size, objective, student = config.data.image_size, config.objective, config.network
    if student.frozen_bn == "eval" and student.scope == "all":
        logger.warning("network.frozen_bn = 'eval' has no effect: scope = 'all' leaves no batch norm frozen")
    teacher = None if objective.teacher is None else objective.teacher.teaching_network
    networks = [network for network in (student, teacher) if network is not None]
    if not any(is_library(network.name) for network in networks):
        return
    from harness.networks import planes_shape  # and with it torch, which a finished run is told without

    ours, *theirs = (planes_shape(network, size) for network in networks)
    if teacher is None or not getattr(objective, "pairs_planes", True) or ours == theirs[0]:
        return
    shapes = " and ".join(f"{n} planes of {h}x{w}" for n, h, w in (ours, *theirs))
    ways = "set objective.project = true (a trained 1x1 convolution), " if hasattr(objective, "project") else ""
    ways += "objective.form = 'original_at' (one map for each image), " if hasattr(objective, "form") else ""
    raise InputError(
        f"objective.method = {objective.method!r} pairs planes by index, but {student.name} and its teacher "
        f"{teacher.name} have {shapes}; {ways}take fitnet, relational or logit_distillation, or another network.tap"
    )


def check_labels(config: RunConfig, beton: Beton) -> None:
    """Warn of labels without a positive training image and of those that will have no AUROC.

    Raises:
        InputError: when no label of the validation split has one, but the best epoch is chosen by it.
    """
    train = beton.targets[beton.indices("train", config.data.subset)]
    absent = [label for label, column in zip(beton.labels, train.T, strict=True) if not (column == POSITIVE).any()]
    if absent:
        logger.warning(
            f"split train, subset {config.data.subset}: no positive image of {', '.join(absent)}: never learnt"
        )
    for split in ("validation", "test"):
        lacking = single_class_labels(beton.targets[beton.indices(split)], beton.labels)
        if lacking:
            logger.warning(
                f"split {split}: no AUROC, and no part in its mean, for {', '.join(lacking)}: one class only"
            )
        by_auroc = config.schedule.select_by == "mean_auroc"
        if split == "validation" and by_auroc and len(lacking) == len(beton.labels):
            raise InputError(
                f"{beton.path}: no label of the validation split has both classes, so the best epoch cannot "
                "be chosen by mean AUROC; set schedule.select_by = 'loss' or use more images"
            )


def check_batches(config: RunConfig, beton: Beton) -> None:
    """Refuse batches over which batch norm has no variance, or that cannot be mixed in pairs.

    Raises:
        InputError: when a process would have one image of 32 px, whose last planes are 1x1, in a step; and when mixup
            finds no pairs in a process's share.
    """
    world_size = launched_processes()
    if config.loss.mixup > 0.0 and config.schedule.micro_batch % (2 * world_size):
        raise InputError(
            f"loss.mixup mixes neighbours in pairs: schedule.batch_size / schedule.accumulate = "
            f"{config.schedule.micro_batch} must be a multiple of {2 * world_size} with {world_size} processes"
        )
    full, rest = divmod(len(beton.indices("train", config.data.subset)), config.schedule.micro_batch)
    sizes = [config.schedule.micro_batch] * min(full, 1) + [rest] * (rest >= world_size)
    smallest = min((size // world_size for size in sizes), default=0)
    if config.data.image_size == 32 and smallest == 1:
        raise InputError(
            "a step would have one image per process, and of images of 32 px batch norm needs two; change "
            "schedule.batch_size or data.subset"
        )


def check_loss(loss: LossOptions, beton: Beton) -> None:
    """Refuse options that the beton cannot serve.

    Raises:
        InputError: for an unknown label, and for a policy where the beton knows of no uncertain label.
    """
    for key in ("positive_weights", "uncertain"):
        value = getattr(loss, key)
        unknown = set(value) - set(beton.labels) if isinstance(value, dict) else set()
        if unknown:
            known = ", ".join(beton.labels)
            raise InputError(f"loss.{key}: unknown label {min(unknown)!r}; labels of {beton.path}: {known}")
    if loss.uncertain is not None and not beton.uncertain.any():
        raise InputError(
            f"{beton.path}: loss.uncertain is set, but no label is marked as uncertain: either its tables have none, "
            "or it was converted before they were kept (cxr convert --overwrite)"
        )


def tell_balance(config: RunConfig, beton: Beton) -> None:
    """Log how often the images of each balanced group come in an epoch, if there are any.

    Raises:
        InputError: when the training images make no groups by what the config names.
    """
    if config.data.balance is None:
        return
    train = beton.indices("train", config.data.subset)
    groups = balance_groups(beton, train, config.data.balance)
    share = len(train) / len(groups)
    told = ", ".join(f"{name} {len(members):,} (x {share / len(members):.3g})" for name, members in groups.items())
    logger.info(f"balanced by {config.data.balance}: {told}")


def check_mix(beton: Beton) -> None:
    """Refuse datasets that are read as one, of which one trains on an image that another is scored on.

    Raises:
        InputError: naming such images; those of one gray level, which tell nothing of a patient, are warned of.
    """
    if not isinstance(beton, MixedBeton):
        return
    from datasets.splits.leaks import leaks_between_parts  # and with it pandas

    for leak in leaks_between_parts(beton):
        if not leak.blank:
            raise InputError(f"{beton.path}: {leak}; split all by one manifest (cxr split), or leave a dataset out")
        logger.warning(f"{leak} (blank)")


def warn_of_leaks(config: RunConfig) -> None:
    """Warn when the initial weights were trained on images that this run is scored on."""
    if config.init.run is None:
        return
    for ours, theirs in product(parts_of(config.data.dataset), parts_of(config.init.run.data.dataset)):
        if ours != theirs and share_images(ours, theirs):
            logger.warning(
                f"{entry_or_own(ours).title} and {entry_or_own(theirs).title} hold the same images: the initial "
                "weights have seen images of this run's validation and test splits unless those patients were left "
                "out of the pre-training"
            )
