"""A stand-in for nvidia-cuda-mps-control and nvidia-smi behind their own command lines, for machines without a GPU.

It keeps a pipe directory as the program's documentation describes it, and writes down each call. What NVIDIA's own
program does on a GPU, it does not show.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CONTROL = """#!/bin/sh
# options, the words on standard input, and what the caller has set
pipe=${CUDA_MPS_PIPE_DIRECTORY:-/nowhere}
[ "$1" = -d ] || read words
echo "$1$words|$pipe|$CUDA_VISIBLE_DEVICES" >> FOLDER/calls.txt
if [ "$1" = -d ]; then
    if [ -e FOLDER/refuses ]; then echo "no device" > "$CUDA_MPS_LOG_DIRECTORY/control.log"; exit 1; fi
    mkfifo "$pipe/control"; exit 0
fi
[ -p "$pipe/control" ] || exit 1
[ "$words" = quit ] && rm "$pipe/control"
exit 0
"""
SMI = """#!/bin/sh
case "$1" in
    -L) echo "GPU 0: Pretend (UUID: GPU-aa)"; echo "GPU 1: Pretend (UUID: GPU-bb)" ;;
    --query-gpu=compute_mode) cat FOLDER/modes ;;
    *) exit 1 ;;
esac
"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool = True) -> Path:
    """Put both on the PATH; return the file of the control program's calls."""
    programs = folder / "mps-bin"
    programs.mkdir()
    texts = {"nvidia-smi": SMI, **({"nvidia-cuda-mps-control": CONTROL} if control else {})}
    for name, text in texts.items():
        (programs / name).write_text(text.replace("FOLDER", str(folder)))
        (programs / name).chmod(0o755)
    (folder / "modes").write_text("Default\nDefault\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_MPS_PIPE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return folder / "calls.txt"
