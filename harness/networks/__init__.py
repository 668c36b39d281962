"""Networks that return logits and attention planes, their random weights and their scopes."""

from harness.networks.build import (
    TEACHER_SEED,
    build_network,
    construct,
    draw_weights,
    library_size,
    multiply_adds,
    network_with,
    planes_shape,
    summaries,
    summary,
)
from harness.networks.network import ATTENTION_PLANES, Network, NetworkOutput, apply_scope, trainable_parameters
