"""Where numba keeps compiled kernels: beside the code, in the home folder, or in a private temporary folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numba
import pytest

from datasets.loading.threads import _place_kernel_cache

UNWRITABLE = Path("/proc/self")
"""Not even root makes files here."""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_package_that_can_be_written_needs_no_other_folder(tmp_path: Path, temporary: Path) -> None:
    _place_kernel_cache(tmp_path)
    assert numba.config.CACHE_DIR == ""


def test_the_home_folder_is_next(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(temporary))
    _place_kernel_cache(UNWRITABLE)
    assert str(temporary / ".cache" / "numba") == numba.config.CACHE_DIR


@pytest.mark.parametrize("home", ["unwritable", "none"])
def test_without_either_a_private_temporary_folder_is_taken(
    home: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home if home == "none" else lambda: UNWRITABLE)
    _place_kernel_cache(UNWRITABLE)
    folder = Path(numba.config.CACHE_DIR)
    assert folder.parent == temporary and folder.name.startswith("cxr-harness-numba-")
    assert folder.stat().st_mode & 0o077 == 0
