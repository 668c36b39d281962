"""Run a real SLURM on this machine: four nodes with two pretend GPUs each, and accounting.

munge, MariaDB (over its socket alone), slurmdbd, slurmctld and four slurmd run from files below one
folder, on free ports. Needs root and the Debian packages ``PACKAGES``. By hand: ``python cluster.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from slurm_files import GPUS_PER_NODE, SMALL_NODE, slurm_conf, slurmdbd_conf

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "slurmdbd", "mariadb-server")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "slurmdbd", "mariadbd", "mariadb-install-db", "mknod")
NUM_NODES = 4
START_S = 60.0
HOSTS = Path("/etc/hosts")


def why_not() -> str | None:
    """Why this machine cannot run the cluster, or None when it can."""
    if os.geteuid() != 0:
        return "a SLURM of our own needs root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"no {missing[0]}: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    return None


class Cluster:
    """The running daemons; ``environment`` points every SLURM command at them."""

    def __init__(self, folder: Path, node: str = SMALL_NODE) -> None:
        self.folder, self.node = folder, node
        self.conf = folder / "slurm.conf"
        self.ports = free_ports(2 + NUM_NODES)
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.has_accounting = True
        self.hosts_mark = f"# {folder}"

    @property
    def environment(self) -> dict[str, str]:
        """What a SLURM command needs in its environment."""
        return {"SLURM_CONF": str(self.conf), "MYSQL_UNIX_PORT": str(self.folder / "mysql" / "socket")}

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes."""
        return [f"n{number}" for number in range(1, NUM_NODES + 1)]

    def run(self, *command: str, check: bool = True, words: bool = False) -> str:
        """Output of a SLURM command on this cluster, with ``words`` what it says on standard error too."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout + (done.stderr if words else "")

    def start(self) -> None:
        """Write the files and start the daemons, each once the one before answers."""
        self.write_files()
        self.start_munge()
        self.start_database()
        self.start_accounting()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait_for("idle nodes", lambda: self.node_states() == ["idle"] * NUM_NODES)

    def node_states(self) -> list[str]:
        """State of each node: idle, mix, alloc, down ..."""
        return self.run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%t").split()

    def write_files(self) -> None:
        """Configuration of SLURM, two pretend GPUs, and names for the nodes, by which ranks find each other."""
        for name in ("state", "spool", "log", "munge", "mysql", "run"):
            (self.folder / name).mkdir(mode=0o755)
        for number in range(GPUS_PER_NODE):
            subprocess.run(["mknod", str(self.folder / f"gpu{number}"), "c", "1", "3"], check=True)
        nodes = f"n[1-{NUM_NODES}]"
        self.write_conf()
        gpus = f"{self.folder}/gpu[0-{GPUS_PER_NODE - 1}]"
        (self.folder / "gres.conf").write_text(f"NodeName={nodes} Name=gpu File={gpus}\n")
        with HOSTS.open("a") as hosts:
            hosts.write(f"127.0.0.1 {' '.join(self.nodes)} {self.hosts_mark}\n")

    def write_conf(self) -> None:
        """Write slurm.conf."""
        has_accounting = self.has_accounting
        text = slurm_conf(self.folder, self.nodes, self.ports, has_accounting=has_accounting, node=self.node)
        self.conf.write_text(text)

    def start_munge(self) -> None:
        """Start munged with a key of its own."""
        folder, key = self.folder / "munge", self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        for path in (folder, key):
            shutil.chown(path, "munge", "munge")
        options = [f"--key-file={key}", f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
        options += [f"--log-file={folder}/log", f"--seed-file={folder}/seed", "--num-threads=2", "--foreground"]
        as_munge = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
        self.daemon("munge", [*as_munge, "munged", *options])
        self.wait_for("munge", (folder / "socket").exists)

    def start_database(self) -> None:
        """Start MariaDB on an empty folder, reachable over a socket alone."""
        data, where = self.folder / "mysql" / "data", self.folder / "mysql"
        shutil.chown(where, "mysql", "mysql")
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db"]
        subprocess.run([*install, "--auth-root-authentication-method=socket"], check=True, capture_output=True)
        options = ["--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={where}/socket"]
        options += [f"--pid-file={where}/pid", "--skip-networking", "--innodb-buffer-pool-size=16M"]
        self.daemon("mysql", ["mariadbd", *options, "--innodb-log-file-size=4M", "--performance-schema=OFF"])
        statements = (
            "CREATE DATABASE slurm_acct_db; CREATE USER 'slurm'@'localhost' IDENTIFIED BY 'slurm';"
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';"
        )
        client = ["mariadb", "--no-defaults", f"--socket={where}/socket", "-e"]
        ready = [*client, "SELECT 1"]
        self.wait_for("MariaDB", lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0)
        subprocess.run([*client, statements], check=True, capture_output=True)

    def start_accounting(self) -> None:
        """Start slurmdbd."""
        conf = self.folder / "slurmdbd.conf"
        conf.touch(mode=0o600)
        conf.write_text(slurmdbd_conf(self.folder, self.ports[1]))
        self.daemon("slurmdbd", ["slurmdbd", "-D"])
        listening = ("127.0.0.1", self.ports[1])
        self.wait_for("slurmdbd", lambda: answers(*listening))

    def start_controller(self) -> None:
        """Start slurmctld."""
        self.daemon("slurmctld", ["slurmctld", "-D"])
        self.wait_for("slurmctld", lambda: "UP" in self.run("scontrol", "ping", check=False))

    def restart_controller(self, *, has_accounting: bool) -> None:
        """Stop slurmctld and start it again, with accounting or without; jobs go on meanwhile."""
        self.stop_daemon("slurmctld")
        self.has_accounting = has_accounting
        self.write_conf()
        self.start_controller()

    def start_node(self, node: str) -> None:
        """Start one slurmd."""
        self.daemon(f"slurmd.{node}", ["slurmd", "-D", "-N", node])

    def daemon(self, name: str, command: Sequence[str]) -> None:
        """Start a daemon in the foreground, its output into a log."""
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def stop_daemon(self, name: str, number: signal.Signals = signal.SIGTERM, timeout_s: float = 15.0) -> None:
        """End a daemon; one that does not end by itself is killed."""
        process = self.daemons.pop(name)
        process.send_signal(number)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_for(self, what: str, ready: Callable[[], bool], timeout_s: float = START_S) -> None:
        """Wait until ``ready``; a daemon that died meanwhile is named with its last words."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            dead = [name for name, process in self.daemons.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = {name: self.log_tail(name) for name in dead or self.daemons}
                raise RuntimeError(f"waited for {what}: {logs}")
            time.sleep(0.1)

    def log_tail(self, name: str) -> str:
        """End of a daemon's log."""
        return (self.folder / "log" / f"{name}.out").read_text(errors="replace")[-600:]

    def stop(self) -> None:
        """End every job and daemon, in the order opposite to their start, and take the node names back."""
        if "slurmctld" in self.daemons:
            with contextlib.suppress(RuntimeError, subprocess.SubprocessError):
                self.run("scancel", "--full", "--signal=KILL", "--user=root", check=False)
                self.run("scancel", "--user=root", check=False)
        for name in reversed(list(self.daemons)):
            self.stop_daemon(name)
        kill_jobs(self.conf)
        lines = HOSTS.read_text().splitlines(keepends=True)
        HOSTS.write_text("".join(line for line in lines if self.hosts_mark not in line))


def kill_jobs(conf: Path, node: str | None = None) -> int:
    """Kill at once all that jobs run on a node, or on all nodes, of this cluster alone; how many processes it were.

    A step's slurmstepd goes first, so that nothing tells the controller, as when a power cut takes the node.
    """
    marks = [f"SLURM_CONF={conf}".encode(), b"SLURMD_NODENAME=" + (node or "").encode()]
    steps, others = set(), set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if entry.name.isdigit() and _is_of_job((entry / "environ").read_bytes().split(b"\0"), marks, node):
                others.add(int(entry.name))
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if Path(f"/proc/{parent}/comm").read_text().startswith("slurmstepd"):
                    steps.add(int(parent))
    for pid in [*steps, *(others - steps)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(steps | others)


def _is_of_job(environment: Sequence[bytes], marks: Sequence[bytes], node: str | None) -> bool:
    conf, name = marks
    return conf in environment and (name in environment if node else any(v.startswith(name) for v in environment))


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, below those that the kernel gives out by itself; two clusters rarely meet."""
    start = random.randrange(21_000, 30_000)
    free = (port for port in range(start, 31_000) if not answers("127.0.0.1", port))
    return list(itertools.islice(free, count))


def answers(host: str, port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@contextlib.contextmanager
def running_cluster(node: str = SMALL_NODE) -> Iterator[Cluster]:
    """A cluster of such nodes in a new folder, both gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="cxr-slurm-"))
    folder.chmod(0o755)
    cluster = Cluster(folder, node)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Start the cluster, say how to use it, and stop it on Ctrl-C."""
    reason = why_not()
    if reason is not None:
        sys.exit(f"error: {reason}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with running_cluster() as cluster:
        print(f"export SLURM_CONF={cluster.conf}")
        print("# four nodes; jobs of gpu, warned and cancelled yield to jobs of urgent; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
