"""A real Slurm of a few simulated nodes on this machine, for the tests that need one."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={port}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=2
SlurmctldTimeout=10
SlurmdTimeout=10
MaxArraySize=301
NodeName=DEFAULT CPUs=4 RealMemory=64000 State=UNKNOWN
{nodes}
PartitionName=DEFAULT Nodes=ALL State=UP MaxTime=UNLIMITED DefaultTime=60
PartitionName=urgent PriorityTier=10 PreemptMode=OFF
PartitionName=work Default=YES PriorityTier=1 PreemptMode=REQUEUE
"""


class Cluster:
    """The daemons of a Slurm whose files all lie below one folder; `stop` ends them.

    Args:
        root: the folder, in reach of everybody, whose name is short: sockets lie in it.
        nodes: how many nodes this machine plays.

    Attributes:
        daemons: by name.
        drivers: what tests have started, which submits to it.
    """

    def __init__(self, root: Path, nodes: int = 2):
        self.root, self.nodes = root, nodes
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(root / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen] = {}
        self.drivers: list[subprocess.Popen] = []
        root.chmod(0o755)  # munge wants its socket in reach of everybody
        for folder in ("state", "spool"):
            (root / folder).mkdir()
        key = root / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        first = _free_ports(nodes + 1)
        host = socket.gethostname().split(".")[0]
        lines = [
            f"NodeName=node{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={first + node}"
            for node in range(1, nodes + 1)
        ]
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        text = CONFIGURATION.format(host=host, user=user, root=root, port=first, nodes="\n".join(lines))
        (root / "slurm.conf").write_text(text)

    def start(self) -> None:
        """Start the daemons, and wait until every node is idle."""
        names = {name: f"{self.root}/munge.{name}" for name in ("socket", "pid", "seed", "log")}
        files = [f"--{kind}-file={names[kind]}" for kind in ("pid", "seed", "log")]
        self._launch(
            "munged", "munged", "-F", f"--key-file={self.root}/munge.key", f"--socket={names['socket']}", *files
        )
        _wait_for(lambda: Path(names["socket"]).exists())
        self._launch("slurmctld", "slurmctld", "-D")
        for node in range(1, self.nodes + 1):
            self.start_node(node)
        _wait_for(lambda: self.call("sinfo", "-h", "-p", "work", "-t", "idle", "-o", "%D").strip() == str(self.nodes))

    def start_node(self, node: int) -> None:
        """Start the daemon of a node."""
        self._launch(f"node{node}", "slurmd", "-D", "-N", f"node{node}")

    def _launch(self, name: str, *command: str) -> None:
        with open(self.root / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def call(self, *command: str) -> str:
        """Run one of Slurm's commands; return what it prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def jobs(self) -> list[str]:
        """Return number, index, state and name of all that is in the queue, a line for each."""
        return self.call("squeue", "-h", "-r", "-o", "%F_%K %T %j").split("\n")[:-1]

    def clear(self) -> None:
        """Cancel all that is in the queue, and wait until it is gone."""
        self.call("scancel", "--user", "root" if os.getuid() == 0 else str(os.getuid()))
        _wait_for(lambda: not self.jobs())

    def stop(self) -> None:
        """Cancel all jobs and end the daemons, the last one begun first."""
        if "slurmctld" in self.daemons:
            for job in {line.split("_")[0] for line in self.jobs()}:
                self.call("scancel", job)
            _wait_for(lambda: not self.jobs(), 20, needed=False)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _free_ports(count: int) -> int:
    """Return the first of so many free ports in a row."""
    for _ in range(200):
        first = 21000 + secrets.randbelow(9000)
        try:
            for port in range(first, first + count):
                with socket.socket() as tried:
                    tried.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def _wait_for(happened, seconds: float = 60, needed: bool = True) -> None:
    limit = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > limit:
            assert not needed, "it did not happen in time"
            return
        time.sleep(0.1)


@pytest.fixture(scope="session")
def slurm_daemons() -> Iterator[Cluster]:
    """A running Slurm of two nodes; the tests are skipped where it is not installed."""
    missing = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"no Slurm here ({', '.join(missing)}): packages slurm-wlm and munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def slurm(slurm_daemons: Cluster, monkeypatch) -> Iterator[Cluster]:
    """That Slurm, with its commands in reach and nothing in its queue."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    monkeypatch.setenv("SLURM_CONF", slurm_daemons.environment["SLURM_CONF"])
    yield slurm_daemons
    for process in slurm_daemons.drivers:
        if process.poll() is None:  # the test has failed
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    slurm_daemons.drivers.clear()
    slurm_daemons.clear()
