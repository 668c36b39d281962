"""Made-up chest-radiograph-like images: a seed enters, folders in the layouts of three real datasets leave.

The pictures are drawn by formulas. They exist so that the harness can be shown and tested without access to patient
data. A score on them says that the code learns what the phantom shows; it never stands in for a result on real data.
"""
