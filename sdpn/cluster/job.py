"""One job of an array, as its script calls it: python -m sdpn.cluster.job COMMANDS INDEX.

It runs the command in that line of the file COMMANDS, and puts a head and a foot around what it prints: command, host,
job, begin, end, status, seconds and memory.
"""

import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(commands: Path, index: int) -> int:
    """Run the command of a job; return its status."""
    line = commands.read_text(encoding="utf-8").splitlines()[index - 1]
    record = run_line(line, shlex.split(line))
    keep_status(commands, index, record)
    return record["status"]


def run_line(line: str, words: Sequence[str]) -> dict[str, Any]:
    """Run a command, between head and foot; signals are passed on to it.

    Args:
        line: what the head says.
        words: what is run.

    Returns:
        status, seconds, peak_mb and job.
    """
    job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ.get("SLURM_JOB_ID", ""))
    job += f"_{os.environ['SLURM_ARRAY_TASK_ID']}" if "SLURM_ARRAY_TASK_ID" in os.environ else ""
    begun = time.time()
    print(f"# {line}\n# host {socket.gethostname()}, job {job}, begin {_now()}", flush=True)
    # Signals that come before the command runs wait for it
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("SLURM_CPUS_PER_TASK", "1")}
    unblocked = lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # noqa: E731
    process = subprocess.Popen(words, env=environment, preexec_fn=unblocked)
    for number in numbers:
        signal.signal(number, lambda number, _: process.send_signal(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    status = process.wait()
    status = status if status >= 0 else 128 - status
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds = time.time() - begun
    print(f"# end {_now()}, status {status}, {seconds:.1f} s, peak memory {peak:.0f} MB", flush=True)
    return {"status": status, "seconds": round(seconds, 1), "peak_mb": round(peak), "job": job}


def keep_status(commands: Path, index: int, record: dict[str, Any]) -> None:
    """Keep how a job has ended in `<COMMANDS>.<index>.status`."""
    kept = commands.with_name(f"{commands.name}.{index}.status")
    partial = kept.with_name(f".{kept.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(record), encoding="utf-8")
    os.replace(partial, kept)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
