"""Relational distillation: the difference of distances and angles between the images of a batch.

Source: Park, Kim, Lu and Cho, "Relational Knowledge Distillation" (CVPR 2019, arXiv:1904.05068), section 3.2: not an
image's own features are compared but how far from each other, and in which angles, the images of a batch lie.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.config import Embedding, Relational
from harness.objectives.base import EPS, PlaneObjective, Sources, plane_loss


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Distance-wise loss of embeddings (B, D) and (B, E): mean over pairs of images of Huber's loss of distances.

    Distances are divided by the batch's mean distance, so scale and dimension of the embeddings do not matter. Fewer
    than two images have no distance: 0, with a gradient of 0.
    """
    num_pairs = max(1, len(student) * (len(student) - 1))
    differences = F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher), reduction="none")
    return differences.sum() / num_pairs  # an image is no distance from itself, so the diagonal adds nothing


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Angle-wise loss of embeddings (B, D) and (B, E): mean over triples of Huber's loss of cosines.

    The cosine is that of the angle at the middle image of three different ones. Fewer than three have none: 0, with a
    gradient of 0.
    """
    num_triples = max(1, len(student) * (len(student) - 1) * (len(student) - 2))
    differences = F.smooth_l1_loss(_cosines(student), _cosines(teacher), reduction="none")
    same_ends = torch.eye(len(student), dtype=torch.bool, device=student.device)
    return differences.masked_fill(same_ends, 0.0).sum() / num_triples


@plane_loss
def relational_loss(student: Tensor, teacher: Tensor, config: Relational) -> Tensor:
    """Sum of both losses under the config's shares, of planes (B, C, H, W) each.

    Relations are those among the images that one process holds: over W processes a global batch of B has W groups of
    B/W, so unlike with the other objectives the number of processes is a part of what is computed.
    """
    ours, theirs = embed(student, config.embedding), embed(teacher, config.embedding)
    loss = ours.new_zeros(())
    if config.distance > 0.0:
        loss = loss + config.distance * distance_loss(ours, theirs)
    if config.angle > 0.0:
        loss = loss + config.angle * angle_loss(ours, theirs)
    return loss


def embed(planes: Tensor, kind: Embedding) -> Tensor:
    """(B, C, H, W) as (B, C), the means of the planes, or as (B, C H W), all their values."""
    return planes.mean(dim=(2, 3)) if kind == "pooled" else planes.flatten(1)


def build(config: Relational, sources: Sources) -> PlaneObjective:
    """The objective with its teacher loaded."""
    loss = partial(relational_loss, config=config)
    return PlaneObjective(sources.teacher(config.teacher).network, config.weight, loss)


def _differences(embeddings: Tensor) -> Tensor:
    """(B, B, D): at [j, i] the way from image j to image i."""
    return embeddings[None, :, :] - embeddings[:, None, :]


def _relative_distances(embeddings: Tensor) -> Tensor:
    """(B, B): distances in units of the mean distance between different images."""
    # vector_norm has the subgradient 0 at 0, where the root of a sum of squares would give NaN.
    distances: Tensor = torch.linalg.vector_norm(_differences(embeddings), dim=2)
    num_pairs = max(1, len(embeddings) * (len(embeddings) - 1))
    return distances / (distances.sum() / num_pairs).clamp_min(EPS)


def _cosines(embeddings: Tensor) -> Tensor:
    """(B, B, B): at [j, i, k] the cosine of the angle at j between the ways to i and to k; 0 where i or k is j."""
    ways = F.normalize(_differences(embeddings), dim=2, eps=EPS)
    return ways @ ways.transpose(1, 2)
