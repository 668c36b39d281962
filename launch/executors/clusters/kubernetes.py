"""Kubernetes Jobs, by kubectl, in the namespace of its context; the pods mount the folders of runs and data.

Kubernetes knows no order between Jobs, so a run is queued once what it needs is done: ``cxr grid watch`` does that. A
pod that is interrupted, evicted or preempted is replaced (``podFailurePolicy``, stable since Kubernetes 1.31). Never
run on a real cluster: its manifests are checked against Kubernetes' schema, its commands against stand-ins.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from datasets.files import write_text
from launch.executors.base import QueueError
from launch.executors.clusters.executor import ClusterExecutor
from launch.executors.clusters.job import CANCELLED, FAILED, GO_ON
from launch.executors.clusters.profile import JobProfile
from launch.executors.clusters.queued import HeldJob, NewJob
from launch.executors.commands import ask
from launch.grids.grid import GridRun

LABEL = {"app.kubernetes.io/managed-by": "cxr-harness"}
SELECTOR = ",".join(f"{key}={value}" for key, value in LABEL.items())
FINAL = [FAILED, 2, 126, 127, CANCELLED]
"""Exit statuses after which another pod would end in the same way."""
DAY_S = 86400
RESERVED = ("containers", "restartPolicy", "volumes", "terminationGracePeriodSeconds")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class KubernetesProfile(JobProfile):
    """What one run asks Kubernetes for."""

    image: str
    """Container image with this version of the harness."""
    volumes: dict[str, str | dict[str, Any]]
    """By the path at which pods mount it, which is its path on this host too: the name of a persistent volume claim,
    or a volume source, as ``{ nfs = { server = "nas", path = "/export" } }``."""
    python: str | None = "python"
    """Command that starts Python in the image."""
    gpu_resource: str = "nvidia.com/gpu"
    labels: dict[str, str] = field(default_factory=dict)
    """Further labels of the Job, as Kueue's ``"kueue.x-k8s.io/queue-name" = "gpus"``."""
    pod: dict[str, Any] = field(default_factory=dict)
    """Further keys of the pod's spec: nodeSelector, tolerations, securityContext, imagePullSecrets."""

    def __post_init__(self) -> None:
        """Refuse what the harness sets."""
        super().__post_init__()
        reserved = [key for key in RESERVED if key in self.pod]
        if reserved:
            raise ValueError(f"pod.{reserved[0]} is set by the harness")


class KubernetesExecutor(ClusterExecutor[KubernetesProfile]):
    """Make one Job for each run."""

    profile_type = KubernetesProfile
    commands = ("kubectl",)
    job_variable = "$CXR_JOB"
    orders_jobs = False

    def queue_command(self, job: NewJob, profile: KubernetesProfile) -> list[str]:
        return ["kubectl", "replace", "--force", "--filename", str(job.path.with_suffix(".job.json"))]

    def description(self, job: NewJob, profile: KubernetesProfile) -> tuple[str, str]:
        return ".job.json", json.dumps(manifest(job, profile), indent=1) + "\n"

    def job_id(self, output: str) -> str:
        return output.strip().splitlines()[-1].partition("/")[2].partition(" ")[0]

    def first_lines(self, log: Path) -> list[str]:
        """Leave the output to Kubernetes, which has it also when a volume is not what it should be."""
        return []

    def read_queue(self) -> Iterator[HeldJob]:
        items = json.loads(ask("kubectl", "get", "jobs,pods", "--selector", SELECTOR, "--output", "json"))["items"]
        pods: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for item in items:
            if item["kind"] == "Pod":
                pods[item["metadata"]["labels"].get("job-name", "")].append(item["status"])
        for item in items:
            conditions = {found["type"]: found for found in item["status"].get("conditions") or []}
            over = any(conditions.get(kind, {}).get("status") == "True" for kind in ("Complete", "Failed"))
            if item["kind"] != "Job" or over:
                continue
            name = item["metadata"]["name"]
            if any(pod.get("phase") == "Running" for pod in pods[name]):
                yield HeldJob(job=name, name=name, state="running")
            else:
                words = [_why_pending(pod) for pod in pods[name] if pod.get("phase") == "Pending"]
                words += ["suspended"] if item["spec"].get("suspend") else []
                yield HeldJob(job=name, name=name, state="queued", waits_for=next(filter(None, words), "pending"))

    def remove(self, jobs: Sequence[str]) -> None:
        options = ("--cascade=foreground", "--wait=false", "--ignore-not-found")
        ask("kubectl", "delete", "jobs", *jobs, *options)

    def logs(self, run: GridRun) -> Path:
        """Return what the run's pods printed, as far as Kubernetes still has it."""
        path = self.folder / f"{run.run_id}.log"
        with suppress(QueueError):
            write_text(path, ask("kubectl", "logs", f"job/{self.job_name(run.run_id)}", "--tail=1000"))
        return path


def manifest(job: NewJob, profile: KubernetesProfile) -> dict[str, Any]:
    """Return the Job as Kubernetes takes it."""
    amounts = {"cpu": str(profile.cpus), "memory": f"{profile.mem_mb}Mi" if profile.mem_mb else None}
    amounts[profile.gpu_resource] = str(profile.gpus_per_run) if profile.gpus_per_run else None
    resources = {key: amount for key, amount in amounts.items() if amount is not None}
    sources: dict[str, Mapping[str, Any]] = {"/dev/shm": {"emptyDir": {"medium": "Memory"}}}
    for path, source in profile.volumes.items():
        sources[path] = {"persistentVolumeClaim": {"claimName": source}} if isinstance(source, str) else source
    names = {path: f"volume-{number}" for number, path in enumerate(sources)}
    container = {
        "name": "run",
        "image": profile.image,
        "command": ["/bin/sh", "-c", job.script],
        "env": [{"name": "CXR_JOB", "value": job.name}],
        "resources": {"requests": resources, "limits": resources},
        "volumeMounts": [{"name": name, "mountPath": path} for path, name in names.items()],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": profile.signal_delay_s,
        "containers": [container],
        "volumes": [{"name": names[path], **source} for path, source in sources.items()],
        **profile.pod,
    }
    rules = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": FINAL}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [GO_ON]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job.name, "labels": {**LABEL, **profile.labels}},
        "spec": {
            "backoffLimit": profile.max_tries,
            "ttlSecondsAfterFinished": DAY_S,
            "podFailurePolicy": {"rules": rules},
            "template": {"metadata": {"labels": {**LABEL}}, "spec": pod},
        },
    }


def _why_pending(pod: Mapping[str, Any]) -> str | None:
    """Return why a pod does not run: what its container waits for, else why it has no node."""
    for container in pod.get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting", {})
        if waiting:
            return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    messages = [found.get("message") for found in pod.get("conditions") or [] if found.get("status") == "False"]
    return next(filter(None, messages), None)
