"""Paragraphs of networks, training, scores and software, from the runs' configs, results and provenance."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config import AttentionTransfer, BetaSearch, RunConfig
from harness.config.objectives import OBJECTIVES
from launch.report.content import ReportData
from launch.report.methods.data_facts import listed
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.write.page_data import versions


def training_facts(runs: Sequence[Run]) -> dict[str, str]:
    """How the networks came to be."""
    configs = [run.config for run in runs]
    return {
        "Networks": _networks(configs),
        "Initial weights": f"{listed(word(config.init.source) for config in configs)}.",
        "Objective": " ".join(dict.fromkeys(map(_objective, configs))),
        "Schedule": " ".join(dict.fromkeys(map(_schedule, configs))),
        "Augmentation": " ".join(dict.fromkeys(map(_augmentation, configs))),
        "Class imbalance": " ".join(dict.fromkeys(map(_imbalance, configs))),
        "Selection": " ".join(dict.fromkeys(map(_selection, configs))),
        "Search": " ".join(dict.fromkeys(filter(None, map(_search, configs)))),
        "Repetitions": f"Seeds {listed(sorted({config.seed for config in configs}))} vary the initial head, the "
        "order of images and their augmentation; splits and subsets are the same for all.",
        "Software": _software(runs),
        "Code": _commits(runs),
        "Hardware": f"Devices: {listed(device for run in runs for device in run.devices) or 'not recorded'}; "
        f"arithmetic: {listed(run.precision for run in runs) or 'not recorded'}.",
    }


def score_facts(data: ReportData, runs: Sequence[Run]) -> dict[str, str]:
    """How the networks were scored, and what was found out besides."""
    scored = [run for run in runs if any(run.folder.evaluations_dir.glob("*.json"))]
    calibrated = [run for run in runs if run.folder.calibration_file.exists()]
    explained = [run for run in runs if run.folder.explanations_file.exists()]
    return {
        "Scores": "AUROC on the test split by label, and its unweighted mean over the labels that have both classes; "
        "the mean over repetitions with 1.96 s / sqrt(n), s with n - 1 degrees of freedom.",
        "Clinical scores": "Besides, by label and group: average precision, Brier score, expected calibration error "
        "and, at Youden's point where one was fitted on the validation split, sensitivity, specificity and F1, each "
        "with a 95 % interval of a bootstrap over patients."
        if data.clinical.cells
        else "",
        "Uncertainty": _uncertainty(data),
        "Other datasets": f"{len(scored)} of {len(runs)} runs were scored on other datasets." if scored else "",
        "Operating points": f"{len(calibrated)} of {len(runs)} runs have a temperature and thresholds by label, "
        "fitted to the validation split alone."
        if calibrated
        else "",
        "Explanations": f"{len(explained)} of {len(runs)} runs have maps scored against boxes." if explained else "",
    }


def _networks(configs: Sequence[RunConfig]) -> str:
    found = listed(f"{word(config.network.name)} ({word(config.network.scope)} trained)" for config in configs)
    return f"{found}; one output for each label, of which the sigmoid is the probability."


def _objective(config: RunConfig) -> str:
    objective = config.objective
    text = f"{OBJECTIVES[objective.method].title}: cross-entropy of each label"
    if objective.teacher is not None:
        text += f", and the distance to a teacher ({word(objective.teacher.source)})"
    if isinstance(objective, AttentionTransfer):
        searched = isinstance(objective.beta, BetaSearch)
        beta = "found by a search" if searched else f"{objective.beta:g}" if objective.weight is None else "not used"
        weight = f", weight {objective.weight:g}" if objective.weight is not None else ""
        text += f" in form {objective.form}{weight}, beta {beta}"
    return f"{text}."


def _schedule(config: RunConfig) -> str:
    plan = config.schedule
    text = (
        f"{plan.optimizer}, learning rate {plan.learning_rate:g} ({plan.policy} policy), batches of {plan.batch_size}"
    )
    warm = f", {plan.warmup_epochs:g} epochs of warm-up" if plan.warmup_epochs else ""
    averaged = f", exponential moving average of weights ({plan.ema_decay:g})" if plan.ema_decay else ""
    return f"{text}, {plan.epochs} epochs at most{warm}{averaged}."


def _augmentation(config: RunConfig) -> str:
    data = config.data
    more = {name: getattr(data, name) for name in ("scale", "crop", "brightness", "contrast")}
    mixup = {"mixup": config.loss.mixup, "label smoothing": config.loss.label_smoothing}
    extra = "".join(f", {name} {value:g}" for name, value in {**more, **mixup}.items() if value)
    text = f"Training images were rotated within {data.rotation_deg:g} degrees and flipped with probability"
    return f"{text} {data.flip_probability:g}{extra}."


def _imbalance(config: RunConfig) -> str:
    weights, balance = config.loss.positive_weights, config.data.balance
    if weights is None and balance is None:
        return "Classes were neither weighted nor resampled."
    given = "by prevalence" if weights == "prevalence" else "given by label"
    texts = [
        f"Positives were weighted {given}." if weights else "",
        f"Images were drawn by {balance}." if balance else "",
    ]
    return " ".join(filter(None, texts))


def _selection(config: RunConfig) -> str:
    plan = config.schedule
    best = "largest mean AUROC" if plan.select_by == "mean_auroc" else "smallest loss"
    stop = f"stopped after {plan.patience} epochs without a better one" if plan.patience else "no early stopping"
    return f"The weights of the epoch with the {best} on the validation split were kept; {stop}."


def _search(config: RunConfig) -> str:
    objective = config.objective
    if not isinstance(objective, AttentionTransfer) or not isinstance(objective.beta, BetaSearch):
        return ""
    points = listed(f"{point:g}" for point in objective.beta.points)
    way = ""
    if objective.beta.pruner == "halving":
        ends = ", ".join(f"{rung.size} for {rung.end}" for rung in objective.beta.rungs)
        way = f", by successive halving (points trained for so many epochs: {ends})"
    return f"Beta was chosen among {points} by the validation split, in runs of their own{way}."


def _software(runs: Sequence[Run]) -> str:
    found = listed(f"{name} {version}" for run in runs for name, version in versions(run).items())
    return f"{found}." if found else ""


def _commits(runs: Sequence[Run]) -> str:
    found = listed(run.commit for run in runs)
    return f"Commit {found} (+: with uncommitted changes)." if found else ""


def _uncertainty(data: ReportData) -> str:
    if not data.compared:
        return ""
    bootstrap = data.compared[0].bootstrap
    return (
        f"Two methods were compared on the same test patients by a paired bootstrap ({bootstrap.count:,} resamples "
        f"of patients, seed {bootstrap.seed}; 95 % percentile intervals), p-values corrected over labels by Holm's "
        "method, with DeLong's test as a check and an interval over seeds and patients together."
    )
