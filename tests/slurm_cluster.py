"""A Slurm of one node for tests, in a folder of its own: munge, controller and node daemon.

    python tests/slurm_cluster.py FOLDER [CPUS]

starts one and prints the line that makes `sbatch` and `squeue` speak to it; it ends with Ctrl-C.
Needs root and Debian's packages slurm-wlm and munge; nothing outside the folder is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "srun")
_SECONDS = 30
# A job that is queued again waits this long, and a second; Slurm's default is two minutes.
_REQUEUE_SECONDS = 5
_CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire={requeue}
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType={proctrack}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
ReturnToService=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES PriorityTier=1 GraceTime=10 State=UP
PartitionName=urgent Nodes={host} PriorityTier=2 State=UP
"""


class CannotStart(Exception):
    """Slurm cannot be started here; the text says why."""


class SlurmCluster:
    """A running Slurm of one node.

    Attributes:
        folder: its configuration, state and logs.
        environment: what its programs must find in their environment.
    """

    def __init__(self, folder: Path, cpus: int = 2, proctrack: str = "proctrack/linuxproc") -> None:
        """Name a folder that need not exist, and what the node pretends to have."""
        self.folder = folder
        self.cpus, self.proctrack = cpus, proctrack
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> SlurmCluster:
        """Start it.

        Raises:
            CannotStart: a program is missing, this is not root, or a daemon does not answer.
        """
        missing = [name for name in PROGRAMS if _find(name) is None]
        if missing:
            raise CannotStart(
                f"no {missing[0]} on this machine (Debian: apt-get install slurm-wlm munge)"
            )
        if os.geteuid() != 0:
            raise CannotStart("Slurm's daemons are only started by root")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what is queued, and stop it."""
        self.stop()

    def call(self, *words: str) -> str:
        """What one of Slurm's programs prints."""
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def stop(self) -> None:
        """End all jobs, then the daemons that were started here."""
        if len(self._daemons) > 1:
            try:
                self.call("scancel", "--user=root")
                self._wait("squeue", "--noheader", until=lambda text: not text, seconds=15)
            except (CannotStart, RuntimeError, subprocess.TimeoutExpired):
                pass
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons = []

    def _start(self) -> None:
        munge = self.folder / "munge"
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for path in (self.folder, munge):
            path.chmod(0o755)
        key = munge / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = ("socket", "pid-file", "log-file", "seed-file")
        places = [f"--{name}={munge / name.removesuffix('-file')}" for name in files]
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", *places)
        host = socket.gethostname().split(".")[0]
        controller_port, node_port = _free_ports(2)
        text = _CONF.format(
            host=host,
            folder=self.folder,
            cpus=self.cpus,
            proctrack=self.proctrack,
            requeue=_REQUEUE_SECONDS,
            controller_port=controller_port,
            node_port=node_port,
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        give_up = time.monotonic() + _SECONDS
        while not (munge / "socket").exists() and time.monotonic() < give_up:
            time.sleep(0.1)
        self._daemon("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._daemon("slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait("sinfo", "--noheader", "--format=%T", until=lambda text: "idle" in text)

    def _daemon(self, name: str, *words: str) -> None:
        program = _find(name)
        assert program is not None
        # A pytest that is killed takes its daemons along.
        bound = ["setpriv", "--pdeathsig", "TERM"] if _find("setpriv") else []
        with (self.folder / f"{name}.out").open("wb") as out:
            daemon = subprocess.Popen(
                [*bound, program, *words],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._daemons.append(daemon)

    def _wait(self, *words: str, until: object, seconds: float = _SECONDS) -> None:
        assert callable(until)
        give_up, told = time.monotonic() + seconds, ""
        while time.monotonic() < give_up:
            if any(daemon.poll() is not None for daemon in self._daemons):
                break
            try:
                told = self.call(*words)
                if until(told):
                    return
            except RuntimeError as error:
                told = str(error)
            time.sleep(0.2)
        logs = [path.read_text(errors="replace")[-600:] for path in self.folder.glob("*.out")]
        raise CannotStart(f"Slurm does not answer: {told}\n" + "\n".join(logs))


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _free_ports(number: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main() -> None:
    """Start a Slurm and hold it until Ctrl-C or SIGTERM."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with SlurmCluster(folder, cpus=int(sys.argv[2]) if len(sys.argv) > 2 else 2) as cluster:
        print(
            *(f"export {name}={value}" for name, value in cluster.environment.items()), flush=True
        )
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
