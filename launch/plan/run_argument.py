"""Find the run folder that a user means by a path, a run id or a part of a name."""

from __future__ import annotations

from pathlib import Path

from datasets.errors import InputError, did_you_mean

LISTED = 5


def find_run_folder(text: str, runs_dir: Path) -> Path:
    """Return the folder itself, or the one below ``runs_dir`` of this id, or the only one with this in its name.

    Raises:
        InputError: when there is none, with the nearest names, or more than one.
    """
    for path in (Path(text), runs_dir / text):
        if path.is_dir():
            return path
    there = sorted(path.name for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []
    found = [name for name in there if text in name]
    if len(found) == 1:
        return runs_dir / found[0]
    if found:
        more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
        raise InputError(
            f"{text}: {len(found)} runs in {runs_dir} have this in their name: "
            f"{', '.join(found[:LISTED])}{more}; say more of it"
        )
    hint = did_you_mean(text, there).strip() or "give a run's folder, or its id with --runs-dir"
    raise InputError(f"{text}: no such run, neither as a folder nor in {runs_dir}; {hint}")
