"""Name torchxrayvision's published DenseNet-121s and the labels of their 18 outputs.

Source: ``model_urls`` in torchxrayvision 1.5.7's models.py. Nothing here imports torch.
"""

from __future__ import annotations

from typing import Literal

XrvName = Literal[
    "densenet121-res224-all",
    "densenet121-res224-nih",
    "densenet121-res224-pc",
    "densenet121-res224-chex",
    "densenet121-res224-rsna",
    "densenet121-res224-mimic_nb",
    "densenet121-res224-mimic_ch",
]
"""torchxrayvision's own names of its weights: architecture, side of the images in pixels, dataset."""

XRV_PREFIX = "densenet121-res224-"
XRV_IMAGE_SIZE = 224
"""Side in pixels of the images that all of them were trained on."""

OUTPUTS = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis"),
    *("Effusion", "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia"),
    *("Lung Lesion", "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum"),
)
"""The outputs of every one of them, in order; which of them were trained depends on the dataset."""

_CHEXPERT_LABELLER = (
    *("Atelectasis", "Consolidation", "Pneumothorax", "Edema", "Effusion", "Pneumonia", "Cardiomegaly"),
    *("Lung Lesion", "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum"),
)
_TRAINED: dict[XrvName, tuple[str, ...]] = {
    "densenet121-res224-all": OUTPUTS,
    "densenet121-res224-nih": OUTPUTS[:14],
    "densenet121-res224-pc": (*OUTPUTS[:14], "Fracture"),
    "densenet121-res224-chex": _CHEXPERT_LABELLER,
    "densenet121-res224-rsna": ("Pneumonia", "Lung Opacity"),
    "densenet121-res224-mimic_nb": _CHEXPERT_LABELLER,
    "densenet121-res224-mimic_ch": _CHEXPERT_LABELLER,
}


def xrv_labels(name: XrvName) -> tuple[str, ...]:
    """Canonical label of each of the 18 outputs; '' for an output that was never trained.

    torchxrayvision renames CheXpert's and MIMIC-CXR's 'Pleural Effusion' to 'Effusion'; for weights that have seen
    these datasets alone the name is turned back, so that it is matched with the label that it was trained on.
    """
    trained = _TRAINED[name]
    labels = tuple(label if label in trained else "" for label in OUTPUTS)
    if trained is _CHEXPERT_LABELLER:
        labels = tuple("Pleural Effusion" if label == "Effusion" else label for label in labels)
    return labels
