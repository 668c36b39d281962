"""Stand-ins for the commands of PBS, LSF, HTCondor and Kubernetes, as their documentation has them read and print.

``install(folder)`` writes them; jobs are real processes, which start, end and go back into the queue whenever one of
the commands is called. Files in the folder steer them: while ``hold`` exists nothing starts; ``stop`` sends
SIGTERM to what runs, once. ``calls.txt`` lists the calls.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = "qsub qselect qstat qdel bsub bjobs bkill condor_submit condor_q condor_rm kubectl"
GO_ON = 85


def install(folder: Path) -> Path:
    """Write the commands; the folder is for the front of PATH."""
    folder.mkdir()
    (folder / "jobs.json").write_text("[]")
    (folder / "calls.txt").touch()
    for name in COMMANDS.split():
        line = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(folder), name])
        (folder / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


class Queue:
    """Jobs: id, name, needs, command, environment, whether exit status 85 queues them again, state, exit status."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[dict] = json.loads((folder / "jobs.json").read_text())

    def save(self) -> None:
        (self.folder / "jobs.json").write_text(json.dumps(self.jobs))

    def add(self, job: str, name: str, command: list[str], **values: object) -> None:
        made = {"id": job, "name": name, "command": command, "needs": [], "env": {}, "goes_back": True, "starts": 0}
        self.jobs.append({**made, "state": "queued", **values})

    def tick(self) -> None:
        """Notice what ended, and start what can start."""
        stop = self.folder / "stop"
        for job in [job for job in self.jobs if job["state"] == "running"]:
            ended = self.folder / f"{job['id']}.{job['starts']}.exit"
            if stop.exists():
                os.kill(job["pid"], signal.SIGTERM)
            if ended.exists() and ended.read_text().strip():
                status = int(ended.read_text())
                again = job["goes_back"] and status == GO_ON
                job.update(state="queued" if again else "ended", status=status)
        stop.unlink(missing_ok=True)
        by_id = {job["id"]: job for job in self.jobs}
        for job in [job for job in self.jobs if job["state"] == "queued"]:
            needs = [by_id[need] for need in job["needs"]]
            if any(need["state"] == "ended" and need["status"] != 0 for need in needs):
                job.update(state="ended", status=1)
            elif all(need["state"] == "ended" for need in needs) and not (self.folder / "hold").exists():
                self.start(job)

    def start(self, job: dict) -> None:
        job["starts"] += 1
        ended = self.folder / f"{job['id']}.{job['starts']}.exit"
        script = f'"$@" & echo $! > {ended}.pid; wait $!; echo $? > {ended}'
        with (self.folder / f"{job['id']}.out").open("ab") as out:
            command = ["sh", "-c", script, "sh", *job["command"]]
            environment = {"PATH": os.environ["PATH"], **job["env"]}
            subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        pid = Path(f"{ended}.pid")
        while not (pid.exists() and pid.read_text().strip()):
            pass
        job.update(state="running", pid=int(pid.read_text()))

    def remove(self, jobs: list[str]) -> None:
        for job in self.jobs:
            if job["id"] in jobs and job["state"] == "running":
                job["goes_back"] = False
                with contextlib.suppress(ProcessLookupError):
                    os.kill(job["pid"], signal.SIGTERM)
            elif job["id"] in jobs:
                job.update(state="ended", status=143)

    @property
    def held(self) -> list[dict]:
        return [job for job in self.jobs if job["state"] != "ended"]


def option(arguments: list[str], name: str, default: str = "") -> str:
    return arguments[arguments.index(name) + 1] if name in arguments else default


def pbs(queue: Queue, name: str, arguments: list[str]) -> None:
    if name == "qsub":
        job = f"{len(queue.jobs) + 1}.pbs"
        needs = option(arguments, "-W").removeprefix("depend=afterok").split(":")[1:]
        env = {"PBS_JOBID": job}
        queue.add(
            job,
            option(arguments, "-N"),
            [option(arguments, "-S", "sh"), arguments[-1]],
            needs=needs,
            env=env,
            goes_back=False,
        )
        print(job)
    elif name == "qselect":
        print("\n".join(job["id"] for job in queue.held))
    elif name == "qdel":
        queue.remove(arguments)
    elif arguments == ["-f", "-F", "json"]:
        letters = {"queued": "Q", "running": "R"}
        jobs = {job["id"]: {"Job_Name": job["name"], "job_state": letters[job["state"]]} for job in queue.held}
        print(json.dumps({"pbs_version": "23.06.06", "Jobs": jobs}))
    else:
        for job in queue.jobs:
            if job["id"] in arguments[1:] and job["state"] != "ended":
                state = "R" if job["state"] == "running" else "H" if job["needs"] else "Q"
                comment = "Not Running: Insufficient\n\t amount of resource: ngpus"
                print(f"Job Id: {job['id']}\n    Job_Name = {job['name']}\n    job_state = {state}")
                print("" if job["needs"] else f"    comment = {comment}\n")
        if any(job["state"] == "ended" for job in queue.jobs if job["id"] in arguments[1:]):
            sys.exit("qstat: Unknown Job Id" if queue.held else 153)


def lsf(queue: Queue, name: str, arguments: list[str]) -> None:
    if name == "bsub":
        job = str(len(queue.jobs) + 1)
        needs = re.findall(r"done\((\d+)\)", option(arguments, "-w"))
        goes_back = option(arguments, "-Q") == str(GO_ON)
        env = {"LSB_JOBID": job}
        queue.add(job, option(arguments, "-J"), arguments[-3:], needs=needs, env=env, goes_back=goes_back)
        print(f"Job <{job}> is submitted to queue <normal>.")
    elif name == "bkill":
        queue.remove(arguments)
        print("\n".join(f"Job <{job}> is being terminated" for job in arguments))
    elif not queue.held:
        sys.stderr.write("No unfinished job found\n")
        sys.exit(255)
    else:
        records = [
            {
                "JOBID": job["id"],
                "STAT": "RUN" if job["state"] == "running" else "PEND",
                "JOB_NAME": job["name"],
                "PEND_REASON": "" if job["state"] == "running" else "Job slot limit reached;",
            }
            for job in queue.held
        ]
        print(json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}))


def condor(queue: Queue, name: str, arguments: list[str]) -> None:
    if name == "condor_submit":
        lines = [line.split(" = ", 1) for line in Path(arguments[-1]).read_text().splitlines() if " = " in line]
        values, job = dict(lines), str(len(queue.jobs) + 1)
        command = [values["executable"], *shlex.split(values["arguments"].strip('"'))]
        key, _, value = values["environment"].strip('"').partition("=")
        env, goes_back = {key: value.replace("$(ClusterId)", job)}, "85" in values["on_exit_remove"]
        queue.add(job, values["+CxrJob"].strip('"'), command, env=env, goes_back=goes_back)
        print(f"{job}.0 - {job}.0")
    elif name == "condor_rm":
        queue.remove(arguments)
    elif queue.held:
        status = {"queued": 1, "running": 2}
        ads = [{"ClusterId": int(j["id"]), "JobStatus": status[j["state"]], "CxrJob": j["name"]} for j in queue.held]
        print(json.dumps(ads))


def kubectl(queue: Queue, _: str, arguments: list[str]) -> None:
    verb, held = arguments[0], {job["id"]: job for job in queue.jobs}
    if verb == "replace":
        made = json.loads(Path(option(arguments, "--filename")).read_text())
        name, (container,) = made["metadata"]["name"], made["spec"]["template"]["spec"]["containers"]
        queue.jobs = [job for job in queue.jobs if job["id"] != name]
        if name in held:
            print(f'job.batch "{name}" deleted')
        env = {item["name"]: item["value"] for item in container["env"]}
        queue.add(name, name, container["command"], env=env, starts=held.get(name, {"starts": 0})["starts"])
        print(f"job.batch/{name} replaced")
    elif verb == "delete":
        queue.remove(arguments)
    elif verb == "logs":
        print((queue.folder / f"{arguments[1].removeprefix('job/')}.out").read_text(), end="")
    else:
        items = []
        for job in queue.jobs:
            over = job["state"] == "ended"
            conditions = [{"type": "Failed" if job.get("status") else "Complete", "status": "True"}] if over else []
            meta = {"name": job["id"]}
            items.append({"kind": "Job", "metadata": meta, "spec": {}, "status": {"conditions": conditions}})
            waits = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient nvidia.com/gpu"}]
            phase = {"queued": "Pending", "running": "Running", "ended": "Succeeded"}[job["state"]]
            pod = {"metadata": {"name": "p", "labels": {"job-name": job["id"]}}}
            items.append({"kind": "Pod", **pod, "status": {"phase": phase, "conditions": waits}})
        print(json.dumps({"kind": "List", "items": items}))


def main(folder: Path, name: str, arguments: list[str]) -> None:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (folder / "calls.txt").open("a") as calls:
            calls.write(shlex.join([name, *arguments]) + "\n")
        queue = Queue(folder)
        queue.tick()
        kinds = {"q": pbs, "b": lsf, "c": condor, "k": kubectl}
        try:
            kinds[name[0]](queue, name, arguments)
        finally:
            queue.tick()
            queue.save()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
