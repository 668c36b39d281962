"""Write the texts of the configuration files of the tests' SLURM."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

GPUS_PER_NODE = 2
SMALL_NODE = f"CPUs=2 RealMemory=8000 Feature=fast Gres=gpu:{GPUS_PER_NODE}"
GPU_NODE = f"CPUs=64 RealMemory=256000 Feature=a100 Gres=gpu:{GPUS_PER_NODE}"
"""As a GPU cluster has it; SLURM is told to believe it."""


def slurm_conf(
    folder: Path, names: Sequence[str], ports: Sequence[int], *, has_accounting: bool, node: str = SMALL_NODE
) -> str:
    """Text of slurm.conf; neither cgroups nor a network are needed.

    Args:
        folder: where configuration, state and logs lie.
        names: the nodes.
        ports: of the controller, of accounting, and of each node.
        has_accounting: whether job states are also kept by slurmdbd.
        node: what each node has.
    """
    host = socket.gethostname()
    controller, accounting, *node_ports = ports
    store = (
        "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=localhost\n"
        f"AccountingStoragePass={folder}/munge/socket\n"
    )
    nodes = ",".join(names)
    return f"""ClusterName=cxr
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
JobRequeue=1
PropagateResourceLimits=NONE
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,default_queue_depth=1000
KillWait=30
MessageTimeout=12
MinJobAge=60
MaxArraySize=1001
SlurmctldTimeout=30
SlurmdTimeout=30
{store if has_accounting else ""}AccountingStoragePort={accounting}
SlurmdParameters=config_overrides
{_node_lines(host, names, node_ports, node)}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=gpu Nodes={nodes} Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=cancelled Nodes={nodes} PriorityTier=1 PreemptMode=CANCEL
PartitionName=warned Nodes={nodes} PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=urgent Nodes={nodes} PriorityTier=9 PreemptMode=OFF
"""


def _node_lines(host: str, names: Sequence[str], ports: Sequence[int], node: str) -> str:
    return "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {node} State=UNKNOWN"
        for name, port in zip(names, ports, strict=True)
    )


def slurmdbd_conf(folder: Path, port: int) -> str:
    """Text of slurmdbd.conf."""
    return f"""AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
"""
