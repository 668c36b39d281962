"""Mark tests that need an arithmetic, by the function that runs ask."""

from __future__ import annotations

import pytest

from harness.devices.precision import arithmetic_problem


def needs(precision: str, device: str = "cpu") -> pytest.MarkDecorator:
    """Skip a test where a convolution in ``precision`` fails on the device."""
    problem = arithmetic_problem(precision, device)
    return pytest.mark.skipif(problem != "", reason=f"no {precision} on this {device}: {problem}")
