"""What each scheduler is told, and how its answers are read, against what its documentation prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
from kubernetes_api import Api, kubernetes_api
from pages import blocks

from datasets.errors import InputError
from launch.executors.base import QueueError
from launch.executors.clusters.htcondor import CondorExecutor, CondorProfile
from launch.executors.clusters.kubernetes import KubernetesExecutor, KubernetesProfile, manifest
from launch.executors.clusters.lsf import LsfExecutor, LsfProfile
from launch.executors.clusters.pbs import PbsExecutor, PbsProfile, parse_jobs
from launch.executors.clusters.profile import JobProfile
from launch.executors.clusters.queued import NewJob
from launch.executors.commands import ask
from launch.executors.slurm.profile import read_profile

JOB = NewJob(name="cxr-0123456789-abcdef", script="#!/bin/sh\nexec true\n", path=Path("/runs/pbs/a b's.sh"))
KUBERNETES = KubernetesProfile(
    image="registry/cxr:1",
    volumes={"/shared": "claim", "/data": {"nfs": {"server": "nas", "path": "/data"}}},
    gpus_per_run=2,
    mem_gb=1.5,
    labels={"kueue.x-k8s.io/queue-name": "gpus"},
    pod={"nodeSelector": {"gpu": "a100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
)
PBS_TEXT = (
    "Job Id: 12.server\n    Job_Name = cxr-1\n    job_state = R\n    Variable_List = PBS_O_HOME=/home/someone,\n"
    "\tPBS_O_PATH=/usr/bin,job_state = Q\n    exec_host = n1/0\n\nJob Id: 13.server\n    Job_Name = cxr-2\n"
    "    job_state = Q\n    comment = Not Running: Insufficient amount of resource: ngpus (R: 1 A: \n\t0 T: 4)\n"
)


def test_qsub_gets_the_profile_and_what_the_job_waits_for(tmp_path: Path) -> None:
    profile = PbsProfile(
        queue="gpu", account="lab", time_min=90, gpus_per_run=2, cpus_per_task=8, mem_gb=0.5, qsub=("-m", "n")
    )
    job = NewJob(name=JOB.name, script=JOB.script, path=JOB.path, needs=("1.server", "2.server"))
    assert PbsExecutor("pbs", tmp_path).queue_command(job, profile) == [
        *("qsub", "-N", JOB.name, "-l", "walltime=01:30:00", "-l", "select=1:ncpus=16:ngpus=2:mem=512mb"),
        *("-S", "/bin/bash", "-j", "oe", "-o", "/dev/null", "-r", "y", "-q", "gpu", "-A", "lab"),
        *("-W", "depend=afterok:1.server:2.server", "-m", "n", "/runs/pbs/a b's.sh"),
    ]


def test_qstat_is_read_over_folded_lines() -> None:
    first, second = parse_jobs(PBS_TEXT)
    shown = [first[name] for name in ("id", "Job_Name", "job_state", "exec_host")]
    assert shown == ["12.server", "cxr-1", "R", "n1/0"]
    assert second["comment"] == "Not Running: Insufficient amount of resource: ngpus (R: 1 A: 0 T: 4)"


def test_bsub_gets_the_profile_and_what_the_job_waits_for(tmp_path: Path) -> None:
    profile = LsfProfile(queue="gpu", account="lab", time_min=90, cpus_per_task=8, mem_gb=2, bsub=("-m", "n1"))
    job = NewJob(name=JOB.name, script=JOB.script, path=JOB.path, needs=("1", "2"))
    executor = LsfExecutor("lsf", tmp_path)
    assert executor.queue_command(job, profile) == [
        *("bsub", "-J", JOB.name, "-W", "90", "-n", "8", "-R", "span[hosts=1]", "-Q", "85", "-r", "-o", "/dev/null"),
        *("-R", "rusage[mem=2048MB]", "-gpu", "num=1", "-q", "gpu", "-P", "lab"),
        *("-w", "done(1) && done(2)", "-ti", "-m", "n1", "/bin/bash", "-l", "/runs/pbs/a b's.sh"),
    ]
    assert executor.job_id("Job <4711> is submitted to default queue <normal>.\n") == "4711"


def test_a_submit_description_says_what_the_profile_asks_for(tmp_path: Path) -> None:
    profile = CondorProfile(account="lab", mem_gb=2, signal_delay_s=90, condor_submit={"requirements": "HasGPU"})
    executor = CondorExecutor("htcondor", tmp_path)
    suffix, text = executor.description(JOB, profile)
    assert executor.queue_command(JOB, profile) == ["condor_submit", "-terse", f"/runs/pbs/a b's{suffix}"]
    assert text.splitlines() == [
        "universe = vanilla",
        "executable = /bin/bash",
        "arguments = \"-l '/runs/pbs/a b''s.sh'\"",
        'environment = "CXR_JOB=$(ClusterId)"',
        "should_transfer_files = NO",
        "transfer_executable = False",
        "request_cpus = 4",
        "request_memory = 2048",
        "request_gpus = 1",
        "accounting_group = lab",
        "on_exit_remove = ExitCode =!= 85",
        "kill_sig = SIGTERM",
        "job_max_vacate_time = 90",
        '+CxrJob = "cxr-0123456789-abcdef"',
        "requirements = HasGPU",
        "queue",
    ]
    assert executor.job_id("12.0 - 12.0\n") == "12"


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_a_manifest_keeps_to_the_published_schema(version: str) -> None:
    made = manifest(JOB, KUBERNETES)
    kubernetes_validate.validate(made, version, strict=True)
    made["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(made, version, strict=True)


def test_a_manifest_asks_for_what_the_profile_says() -> None:
    pod = manifest(JOB, KUBERNETES)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "1536Mi", "nvidia.com/gpu": "2"}
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {places[volume.pop("name")]: volume for volume in pod["volumes"]} == {
        "/dev/shm": {"emptyDir": {"medium": "Memory"}},
        "/shared": {"persistentVolumeClaim": {"claimName": "claim"}},
        "/data": {"nfs": {"server": "nas", "path": "/data"}},
    }
    assert pod["nodeSelector"] == {"gpu": "a100"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "image: Field required"),
        ('image = "x"\nvolumes = {}\npod = { containers = [] }', "pod.containers is set by the harness"),
    ],
)
def test_a_wrong_kubernetes_profile_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "profile.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_profile(tmp_path / "profile.toml", KubernetesProfile)
    assert str(caught.value) == f"{tmp_path}/profile.toml: {message}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pbs.toml", PbsProfile),
        ("lsf.toml", LsfProfile),
        ("condor.toml", CondorProfile),
        ("kubernetes.toml", KubernetesProfile),
    ],
)
def test_the_profiles_of_the_documents_are_profiles(tmp_path: Path, name: str, kind: type[JobProfile]) -> None:
    (text,) = [block.text for block in blocks("docs/grid.md") if block.file == name]
    (tmp_path / name).write_text(text)
    profile = read_profile(tmp_path / name, kind)
    assert profile.cpus_per_task >= 8
    if isinstance(profile, KubernetesProfile):
        kubernetes_validate.validate(manifest(JOB, profile), "1.32", strict=True)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A made-up API server, to which kubectl goes."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl")
    monkeypatch.setenv("HOME", str(tmp_path))  # kubectl keeps a cache there
    with kubernetes_api() as server:
        cluster, context = {"server": server.url}, {"cluster": "here", "user": "me"}
        config = {"clusters": [{"name": "here", "cluster": cluster}], "contexts": [{"name": "c", "context": context}]}
        text = json.dumps({"apiVersion": "v1", "kind": "Config", **config, "current-context": "c"})
        (tmp_path / "config").write_text(text)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield server


def test_kubectl_makes_lists_replaces_and_removes_jobs(api: Api, tmp_path: Path) -> None:
    """The real kubectl, on an API server that only keeps Jobs."""
    executor = KubernetesExecutor("kubernetes", tmp_path)
    job = NewJob(name=JOB.name, script=JOB.script, path=tmp_path / "run.sh")
    suffix, text = executor.description(job, KUBERNETES)
    job.path.with_suffix(suffix).write_text(text)
    file = job.path.with_suffix(suffix)
    for where, said in (("client", "dry run"), ("server", "server dry run")):
        dry = ("kubectl", "apply", f"--dry-run={where}", "--validate=strict", "-f", str(file))
        assert ask(*dry) == f"job.batch/{JOB.name} created ({said})\n"
    (tmp_path / "wrong.json").write_text(text.replace('"backoffLimit"', '"backoffLimits"'))
    with pytest.raises(QueueError, match="backoffLimits"):
        ask(*dry[:-1], str(tmp_path / "wrong.json"))
    assert executor.job_id(ask(*executor.queue_command(job, KUBERNETES))) == JOB.name
    (held,) = executor.read_queue()
    assert (held.job, held.name, held.state, held.waits_for) == (JOB.name, JOB.name, "queued", "pending")
    api.jobs[JOB.name]["status"]["phase"] = "Running"
    assert [held.state for held in executor.read_queue()] == ["running"]
    assert ask("kubectl", "logs", f"job/{JOB.name}", "--tail=1000") == "what the pod printed\n"
    api.jobs[JOB.name]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    assert list(executor.read_queue()) == []
    assert executor.job_id(ask(*executor.queue_command(job, KUBERNETES))) == JOB.name  # in place of the failed one
    executor.remove([JOB.name, "cxr-gone"])
    assert [(verb, name) for verb, name, _ in api.requests] == [("POST", JOB.name), ("DELETE", JOB.name)] * 2
    assert api.requests[-1][2]["propagationPolicy"] == "Foreground"
