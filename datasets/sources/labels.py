"""Names of labels in canonical spelling, names of splits, and the values of targets."""

from __future__ import annotations

from typing import Literal

CHEXPERT_LABELS: tuple[str, ...] = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
"""The 14 labels of CheXpert in the order of its tables; MIMIC-CXR's are put in this order too."""

CHESTXRAY14_LABELS: tuple[str, ...] = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia"),
    *("Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
"""The 14 diseases of ChestX-ray14; its 'No Finding' is the absence of all of them, not an output."""

RSNA_LABELS: tuple[str, ...] = ("Pneumonia", "Lung Opacity", "No Finding")
"""What the classes of the RSNA Pneumonia Challenge say."""

PADCHEST_LABELS: tuple[str, ...] = (
    "No Finding",
    *CHESTXRAY14_LABELS,
    *("Fracture", "Support Devices", "COPD", "Tuberculosis", "Bronchiectasis", "Granuloma", "Air Trapping"),
    *("Flattened Diaphragm", "Hemidiaphragm Elevation", "Costophrenic Angle Blunting", "Hilar Enlargement"),
    *("Aortic Elongation", "Aortic Atheromatosis", "Scoliosis"),
)
"""The commonest of PadChest's 193 findings and diagnoses, in the names of the other datasets where they have one."""

VINDR_LABELS: tuple[str, ...] = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation"),
    *("Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst"),
    *("Mediastinal shift", "Nodule/Mass", "Pleural Effusion", "Pleural_Thickening", "Pneumothorax", "Fibrosis"),
    *("Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases"),
    "No Finding",
)
"""The 22 findings and 6 diagnoses of VinDr-CXR in the order of its tables."""

NO_FINDING = "No Finding"

SPLITS = ("train", "validation", "test")
"""Names of the splits, in the order in which they are shown."""

NEGATIVE = 0
POSITIVE = 1
IGNORED = 255
"""Target of a label that the loss leaves out."""

Uncertain = Literal["zero", "one", "ignore"]
"""What an uncertain label (-1) becomes: negative (U-zero), positive (U-one), or left out of the loss (U-ignore)."""

Views = Literal["all", "frontal", "lateral"]
"""Which projections are kept."""

_ALIASES = {
    "Airspace Opacity": "Lung Opacity",
    "Infiltrate": "Infiltration",
    "Pulmonary fibrosis": "Fibrosis",
    "Other disease": "Other diseases",
}
_NAMED = (*CHEXPERT_LABELS, *CHESTXRAY14_LABELS, *PADCHEST_LABELS, *VINDR_LABELS)


_SAME_FINDING = {"Effusion": "Pleural Effusion"}
"""Labels that keep their names, but are about the same finding as one of another name."""


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).lower()


_CANONICAL: dict[str, str] = {
    **{_key(name): name for name in _NAMED},
    **{_key(alias): name for alias, name in _ALIASES.items()},
}


def canonical(name: str) -> str:
    """Canonical spelling of a label: 'Airspace Opacity' is 'Lung Opacity', 'Pleural Thickening' 'Pleural_Thickening'.

    Letter case, underscores and surrounding blanks do not matter. 'Effusion' (ChestX-ray14) and 'Pleural Effusion'
    (CheXpert) stay apart: they were annotated differently. A name that no dataset here uses is left as it is.
    """
    return _CANONICAL.get(_key(name), name)


def finding(label: str) -> str:
    """What a label is about, whatever its dataset calls it, for scoring on another dataset: 'Pleural Effusion'."""
    name = canonical(label)
    return _SAME_FINDING.get(name, name)
