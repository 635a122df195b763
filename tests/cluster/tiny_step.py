#!/usr/bin/env python3
"""A step of shards that cost nothing, for the tests of where they are made.

Files in DATA make a shard misbehave: `fail-3` holds how often the third one fails, `kill-3` has it killed once, and
while `hold-3` is there it waits.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import click

from sdpn.cluster.stage import Where, cluster_options, run_shards
from sdpn.console import run
from sdpn.files import exclusive, write_text
from sdpn.recipe.program import program, shared
from sdpn.shards import Work, completes


@program(__doc__, "data")
@shared("nj")
@cluster_options()
@click.option("--count", default=4)
def main(data: Path, nj: int, where: Where, count: int) -> None:
    def work(jobs: Callable) -> None:
        shards = [Work(data / "set", f"part.{number}", {"count": count}) for number in range(1, count + 1)]
        todo = [(shard, number) for number, shard in enumerate(shards, 1) if shard.stale_reason()]
        for _ in jobs(make, todo):
            pass
        if completes(jobs):
            text = "".join((data / "set" / f"{number}.txt").read_text() for number in range(1, count + 1))
            write_text(data / "whole.txt", text)

    with nullcontext() if where.shards else exclusive(data, "tiny"):
        run_shards(work, where, data, "tiny_step", nj)


def make(shard: Work, number: int) -> None:
    data = Path(shard.directory).parent
    with open(data / "made.txt", "a") as made:
        made.write(f"{number}\n")
    while (data / f"hold-{number}").exists():
        time.sleep(0.1)
    if (kill := data / f"kill-{number}").exists():
        kill.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if (fail := data / f"fail-{number}").exists() and (times := int(fail.read_text())):
        fail.write_text(str(times - 1))
        print("this shard fails", flush=True)
        sys.exit(1)
    write_text(Path(shard.directory) / f"{number}.txt", f"shard {number}\n")
    shard.finish([Path(shard.directory) / f"{number}.txt"])


if __name__ == "__main__":
    run(main)
