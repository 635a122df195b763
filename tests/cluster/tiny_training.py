#!/usr/bin/env python3
"""A training that learns nothing, for the tests of how trainings run as jobs: twenty steps, and what they add up to.

Files in EXP make it misbehave: while `never` is there it leaves before its first step, as when its time is too short;
`kill-10` has it killed once before that step; it waits before step 10 while `hold` is there.
"""

import os
import signal
import sys
import time
from pathlib import Path

from sdpn.cluster.stage import Where, cluster_options, run_training
from sdpn.console import run
from sdpn.files import write_text
from sdpn.recipe.program import program, shared

STEPS, STOPPED = 20, 85


@program(__doc__, "exp")
@shared("ngpu")
@cluster_options(shards=False)
def main(exp: Path, ngpu: int, where: Where) -> int:
    if where.slurm is not None:
        run_training(where, exp, "tiny_training", ngpu)
        return 0
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: asked.append(number))
    if (exp / "never").exists():
        return STOPPED
    newest = max((exp / "checkpoints").glob("step-*.pt"), default=None)
    step, total = (0, 0) if newest is None else map(int, newest.read_text().split())
    with open(exp / "starts.txt", "a") as starts:
        starts.write(f"{step}\n")
    while step < STEPS:
        if step == 9:
            while (exp / "hold").exists() and not asked:
                time.sleep(0.05)
            if (exp / "kill-10").exists():
                (exp / "kill-10").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        step, total = step + 1, total + step
        if asked or step % 5 == 0:
            write_text(exp / "checkpoints" / f"step-{step:09d}.pt", f"{step} {total}")
        if asked:
            return STOPPED
    write_text(exp / "model" / "sum.txt", f"{total}\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
