"""Made-up chest-radiograph-like images from a seed, in the layouts of real datasets.

The pictures are drawn by formulas. They exist so that the harness can be shown and tested without access to patient
data. A score on them says that the code learns what the phantom shows; it never stands in for a result on real data.
"""
