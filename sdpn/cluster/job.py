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
from pathlib import Path


def main(commands: str, index: int) -> int:
    """Run the command of a job; return its status, which `<COMMANDS>.<index>.status` keeps, too."""
    line = Path(commands).read_text(encoding="utf-8").splitlines()[index - 1]
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID", "")
    begun = time.time()
    head = f"# {line}\n# host {socket.gethostname()}, job {job}_{index}, begin {time.strftime('%Y-%m-%d %H:%M:%S')}"
    print(head, flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("SLURM_CPUS_PER_TASK", "1")}
    process = subprocess.Popen(shlex.split(line), env=environment)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: process.send_signal(number))
    status = process.wait()
    status = status if status >= 0 else 128 - status
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds = time.time() - begun
    end = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"# end {end}, status {status}, {seconds:.1f} s, peak memory {peak:.0f} MB", flush=True)
    record = {"status": status, "seconds": round(seconds, 1), "peak_mb": round(peak), "job": f"{job}_{index}"}
    kept = Path(f"{commands}.{index}.status")
    partial = kept.with_name(f".{kept.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(record), encoding="utf-8")
    os.replace(partial, kept)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
