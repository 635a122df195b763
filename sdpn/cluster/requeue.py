"""A training as a job: python -m sdpn.cluster.requeue COMMANDS EXP RANKS FRUITLESS.

It runs the first line of the file COMMANDS, as one task of srun for each rank, and has Slurm start the job again where
the training was stopped or has lost a rank. USR1, which Slurm sends before the limit, is passed on: the training saves
and leaves with status 85. Starts that find no newer checkpoint than the one before are counted: too many end the chain.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from sdpn.cluster.job import keep_status, run_line

STOPPED = 85  # the exit status of a training that has saved and asks for another start


def main(commands: Path, exp: Path, ranks: int, fruitless: int) -> int:
    """Run the training; return its status, once it is not to be started again."""
    line = commands.read_text(encoding="utf-8").splitlines()[0]
    vain = _count_start(commands, exp)
    if vain >= fruitless:
        print(
            f"error: {vain} starts have brought no newer checkpoint than {_newest(exp) or 'none'}: the training is not "
            "started again; train_time may be too short for a step, or checkpoint_every too long",
            flush=True,
        )
        keep_status(commands, 1, {"status": 1})
        return 1
    words = shlex.split(line)
    if ranks > 1:
        cores = os.environ.get("SLURM_CPUS_PER_TASK", "1")
        words = ["srun", f"--ntasks={ranks}", f"--cpus-per-task={cores}", "--kill-on-bad-exit=1", *words]
    record = run_line(line, words)
    status = record["status"]
    if status == STOPPED or status > 128:  # it was stopped, or a rank was killed
        asked = subprocess.run(["scontrol", "requeue", os.environ.get("SLURM_JOB_ID", "")], check=False)
        if asked.returncode == 0:
            print("# requeued", flush=True)
            return status
    keep_status(commands, 1, record)
    return status


def _newest(exp: Path) -> str:
    """Return the name of the newest checkpoint; "" if there is none."""
    return max((path.name for path in (exp / "checkpoints").glob("step-*.pt")), default="")


def _count_start(commands: Path, exp: Path) -> int:
    """Return how many starts in a row have found the same newest checkpoint as the one before them."""
    path, newest = commands.with_name(f"{commands.name}.starts"), _newest(exp)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        before = None
    vain = before["vain"] + 1 if before and before["newest"] == newest else 0
    path.write_text(json.dumps({"newest": newest, "vain": vain}), encoding="utf-8")
    return vain


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
