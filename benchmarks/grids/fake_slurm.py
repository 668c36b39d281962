"""Write stand-ins for SLURM's commands that record what they are asked.

``sbatch`` gives out job numbers and keeps the jobs; ``squeue`` lists them all as pending; ``sinfo`` knows one large
node; ``scontrol`` says yes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

CALLS = "calls.txt"
COMMANDS = {
    "sbatch": """
for script; do :; done
name=$(sed -n 's/^#SBATCH --job-name=//p' "$script")
array=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
number=$(( $(cat "$here/number") + 1 )); echo $number > "$here/number"
if [ -n "$array" ]; then
    seq 0 "$array" | sed "s/.*/${number}_&|PENDING||Dependency|$name/" >> "$here/queue.txt"
else
    echo "$number|PENDING||Dependency|$name" >> "$here/queue.txt"
fi
echo "Submitted batch job $number"
""",
    "squeue": 'cat "$here/queue.txt"\n',
    "sinfo": 'echo "node1|64|256000|gpu:8"\n',
    "scontrol": 'if [ "$1" = show ]; then echo "MaxArraySize = 1001"; fi\n',
    "srun": "exit 1\n",
    "scancel": "exit 0\n",
}


def write_commands(folder: Path) -> Path:
    """Write the scripts with an empty queue and no calls; the folder is for the front of PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CALLS).write_text("", encoding="utf-8")
    (folder / "queue.txt").write_text("", encoding="utf-8")
    (folder / "number").write_text("0\n", encoding="utf-8")
    for name, body in COMMANDS.items():
        script = folder / name
        head = f'#!/bin/sh\nhere=$(dirname "$0")\necho "{name} $*" >> "$here/{CALLS}"\n'
        script.write_text(head + body.lstrip("\n"), encoding="utf-8")
        script.chmod(0o755)
    return folder


def num_calls(folder: Path) -> dict[str, int]:
    """How often each command was called."""
    lines = (folder / CALLS).read_text(encoding="utf-8").splitlines()
    return dict(Counter(line.partition(" ")[0] for line in lines))
