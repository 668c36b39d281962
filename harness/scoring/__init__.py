"""Score predictions by label and by group of patients, with intervals over patients."""
