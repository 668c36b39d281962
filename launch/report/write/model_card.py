"""An exported run comes in; its model card, one Markdown document, goes out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.export.export import Exported

PAPER = 'Akbarian et al., "Evaluating Knowledge Transfer in the Neural Network for Medical Images"'
METHODS = {
    "transfer_learning": "transfer learning (binary cross-entropy alone)",
    "attention_transfer": "attention transfer: binary cross-entropy and the distance of its attention maps from a "
    "teacher's",
    "logit_distillation": "distillation of a teacher's logits",
    "fitnet": "FitNet hints of a teacher",
    "relational": "relational distillation of a teacher",
    "channel_wise": "channel-wise distillation of a teacher",
}
SPLITS = ("train", "validation", "test")


def model_card(exported: Exported) -> str:
    """What the model is, what it was made from, how well it does, how to use it, and what it is not for."""
    parts = [
        _head(exported),
        _use(exported),
        _data(exported),
        _scores(exported),
        _preprocessing(exported),
        _training(exported),
        _provenance(exported),
        _limits(exported),
        _citation(exported),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(exported: Exported) -> list[str]:
    config, labels = exported.model.config, exported.model.labels
    method = METHODS.get(config.objective.method, config.objective.method)
    lines = [
        f"# {_text(config.name)}",
        "",
        f"A {config.network.name} that gives probabilities of {len(labels)} findings for a chest radiograph, trained "
        f"on {_text(config.data.dataset)} by {method}.",
    ]
    if exported.provenance.get("phantom"):
        lines += [
            "",
            "**Made-up images.** This model was trained and scored on images drawn by formulas. It says nothing "
            "about radiographs, and its scores are no result.",
        ]
    return lines


def _use(exported: Exported) -> list[str]:
    size, check = exported.model.preprocessing.size, exported.onnx
    lines = [
        "## Files and use",
        "",
        "| file | holds |",
        "|---|---|",
        "| `model.safetensors` | the weights; label names in the metadata |",
        "| `labels.json` | names of the outputs, in order |",
        "| `preprocessing.json` | the way from an image file to the network's input, in words and numbers |",
        "| `config.json` | the whole configuration of the run |",
    ]
    if check is not None:
        lines.append(f"| `model.onnx` | the network as ONNX, operator set {check.opset} |")
    lines += ["", "    cxr predict THIS_FOLDER image.png scan.dcm --json"]
    if check is None:
        return lines
    real = f" and {check.real_images} test images" if check.real_images else ""
    return [
        *lines,
        "",
        f"`model.onnx` takes gray pages, `image` (batch, 1, {size}, {size}) uint8, made as below; normalisation and "
        "the three channels are inside. It gives `probability` and `logit` (batch, labels) float32:",
        "",
        "    import json, numpy, onnxruntime",
        '    session = onnxruntime.InferenceSession("model.onnx")',
        f'    page = numpy.zeros((1, 1, {size}, {size}), "uint8")  # a preprocessed image',
        '    print(dict(zip(json.load(open("labels.json")), session.run(["probability"], {"image": page})[0][0])))',
        "",
        f"Compared with torch in float32 on {check.random_images} random{real}: probabilities differ by at most "
        f"{check.max_difference:.1e}.",
    ]


def _data(exported: Exported) -> list[str]:
    config, result, sidecar = exported.model.config, exported.result, exported.sidecar
    lines = ["## Data", "", f"- dataset: {_text(config.data.dataset)}, training subset {_text(config.data.subset)}"]
    lines.append(f"- training images used: {result['train_images']:,}")
    if sidecar is None:
        lines.append(f"- test images: {result['test']['num_samples']:,}")
    else:
        sizes = ", ".join(f"{name} {sidecar.splits.get(name, 0):,}" for name in SPLITS)
        lines.append(f"- images by split: {sizes}; {sidecar.num_patients:,} patients")
        if "split" in sidecar.settings:
            lines.append(f"- how it was split: {_code(sidecar.settings['split'])}")
        if "manifest" in sidecar.settings:
            lines.append(f"- split by a manifest with SHA-256 `{sidecar.settings['manifest']}`")
        lines.append(
            f"- uncertain labels: {_code(sidecar.settings.get('uncertain'))}; views: "
            f"{_code(sidecar.settings.get('views'))}"
        )
        tables = [f"{_text(table['name'])} (SHA-256 `{table['sha256'][:16]}`)" for table in sidecar.source_tables]
        lines += [f"- tables: {', '.join(tables)}"] if tables else []
    return [*lines, f"- content of the images, labels and splits: `{result['content_hash']}`"]


def _scores(exported: Exported) -> list[str]:
    test, intervals = exported.result["test"], exported.intervals
    patients = f" of {exported.test_patients:,} patients" if exported.test_patients else ""
    lines = [
        "## Test scores",
        "",
        f"AUROC on the {test['num_samples']:,} test images{patients}, weights of epoch "
        f"{exported.result['best_epoch'] + 1} of {exported.result['epochs']}, chosen by validation.",
        "",
        "| label | AUROC | 95 % interval |",
        "|---|---:|---:|",
    ]
    for label in exported.model.labels:
        lines.append(f"| {_text(label)} | {_score(test['auroc'].get(label))} | {_interval(intervals.get(label))} |")
    lines.append(f"| **mean** | {_score(test['mean_auroc'])} | {_interval(exported.mean_interval)} |")
    lines += [
        "",
        "Intervals: percentiles of 1,000 draws of the test patients; they hold for this one trained model "
        "and say nothing about another seed.",
    ]
    if test["undefined_labels"]:
        lines.append(
            f"No AUROC, since the test images hold one class alone: "
            f"{', '.join(map(_text, test['undefined_labels']))}."
        )
    return lines


def _preprocessing(exported: Exported) -> list[str]:
    steps = exported.model.preprocessing.steps()
    shown = ("gray", "resize", "page", "normalise", "mean", "std")
    return ["## Preprocessing", "", *(f"- {name}: {_plain(steps[name])}" for name in shown)]


def _training(exported: Exported) -> list[str]:
    config, result = exported.model.config, exported.result
    schedule = config.schedule
    lines = [
        "## Training",
        "",
        f"- network: {config.network.name}, trained part {config.network.scope}",
        f"- started from: {_text(str(exported.provenance.get('started_from')))}",
        f"- objective: {METHODS.get(config.objective.method, config.objective.method)}",
    ]
    teacher = config.objective.teacher
    if teacher is not None:
        lines.append(
            f"- teacher: {_text(teacher.run.run_id if teacher.run is not None else teacher.source)}; weight "
            f"of its loss {result.get('attention_weight')}"
        )
    lines += [
        f"- Adam, learning rate {schedule.learning_rate:g}, {schedule.policy} schedule, batch {schedule.batch_size}, "
        f"{schedule.epochs} epochs, seed {config.seed}",
        f"- augmentation: rotation within {config.data.rotation_deg:g} degrees, horizontal flip with probability "
        f"{config.data.flip_probability:g}",
        f"- arithmetic: {exported.model.precision}",
    ]
    return [*lines, "- everything else: `config.json`"]


def _provenance(exported: Exported) -> list[str]:
    facts, result = exported.provenance, exported.result
    versions = ", ".join(f"{name} {version}" for name, version in (facts.get("versions") or {}).items() if version)
    git = facts.get("git") or {}
    changed = ", with uncommitted changes" if git.get("dirty") else ""
    return [
        "## Provenance",
        "",
        f"- run `{exported.model.config.run_id}`, config hash `{result['config_hash']}`",
        f"- hash of the weights `{result['weights_hash']}`",
        f"- commit {git['commit']}{changed}" if git.get("commit") else "- commit unknown",
        f"- Python {facts.get('python')}, {versions}",
        f"- trained in {result['seconds'] / 3600:.2f} h on {_text(', '.join(facts.get('devices') or ['unknown']))}",
    ]


def _limits(exported: Exported) -> list[str]:
    return [
        "## Intended use and limits",
        "",
        "- For research on training methods. No medical device: not for diagnosis, triage or any care of patients.",
        "- Probabilities are not calibrated, and no threshold was chosen.",
        f"- Scored on the test split of {_text(exported.model.config.data.dataset)} alone. Other hospitals, devices, "
        "projections and ages may give other scores; differences between groups of patients were not examined.",
        "- Labels of these datasets were mostly read from reports by programs and hold errors.",
        "- The data's terms of use may restrict who may get these weights and for what.",
    ]


def _citation(exported: Exported) -> list[str]:
    return [
        "## Citation",
        "",
        f"The study that the training follows: {PAPER}. Trained with cxr-harness "
        f"{(exported.provenance.get('versions') or {}).get('cxr-harness', '')}; cite the dataset as its owners ask.",
    ]


def _score(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _interval(value: Sequence[float] | None) -> str:
    return "-" if value is None else f"{value[0]:.4f} to {value[1]:.4f}"


def _plain(value: Any) -> str:
    return ", ".join(f"{item:g}" for item in value) if isinstance(value, list) else str(value)


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _text(text: str) -> str:
    """Names as text, never as markup."""
    return re.sub(r"[\\`*|<>\[\]#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text.replace("\n", " "))
