"""The text that travels with every phantom: nothing enters, README.txt leaves."""

from __future__ import annotations

NOTICE = "MADE-UP IMAGES. NOT PATIENT DATA. SCORES ON THEM NEVER STAND IN FOR RESULTS ON REAL DATA."

README = f"""{NOTICE}

Every picture below this folder was drawn by a formula from a seed, by `cxr phantom` of cxr-harness. No patient was
imaged, no real radiograph was used, and names, ids, ages and dates are invented, even where an id looks like one of a
real dataset. The pictures serve to try and to test software. They say nothing about any disease, network or method.

What is here (those that were asked for)
  CheXpert-v1.0-small/   train.csv, valid.csv, train/patient00001/study1/view1_frontal.jpg ...
  ChestX-ray14/          Data_Entry_2017_v2020.csv, train_val_list.txt, test_list.txt, images_001/images/*.png ...
  MIMIC-CXR-JPG/         three mimic-cxr-2.0.0-*.csv.gz, files/p10/p10000032/s50414267/*.jpg ...
  */PHANTOM.json         seed, size, number of patients and images

What the labels mean
  Each finding leaves a visual trace of varying strength, the same in all three datasets: a wide heart
  (Cardiomegaly), a wide upper mediastinum (Enlarged Cardiomediastinum), basal fluid with a meniscus (Effusion,
  Pleural Effusion), a dark rim without vessels behind a thin bright edge (Pneumothorax), small round shadows (Nodule,
  Lung Lesion), one large round shadow (Mass, Lung Lesion), haze around the hila (Edema), one dense zone ending at a
  fissure (Consolidation), a cluster of soft patches (Pneumonia), a fine mottled veil (Infiltration; Lung Opacity),
  flat bands with a raised diaphragm (Atelectasis), lines, boxes and leads (Support Devices), dark lungs with few
  vessels and a flat diaphragm (Emphysema), streaks (Fibrosis), a bright rim inside the chest wall (Pleural
  Thickening, Pleural Other), displaced ribs with callus (Fracture), a bubble behind the heart (Hernia).
  Lung Opacity is set whenever Edema, Consolidation, Pneumonia, Atelectasis or Lung Lesion is present.
  Findings that a dataset has no label for occur in it unnamed.

What differs from the real datasets
  Rare labels are lifted to 6 percent or more, so that a few hundred images hold positives of each. Patients have 1 to
  4 studies, and images number 1.5 to 2.5 per patient. MIMIC's official test part holds 10 percent of the patients and
  its validate part 5 percent.
"""
