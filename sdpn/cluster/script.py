"""The scripts that sbatch is given."""

import shlex
from pathlib import Path

from sdpn.cluster.config import SlurmConfig

ROOT = Path(__file__).parents[2]


def array_script(
    settings: SlurmConfig, name: str, count: int, at_once: int, log: Path, commands: Path, gpu: bool, whole: bool
) -> str:
    """Return the script of an array of jobs.

    Args:
        name: of the jobs.
        count: how many there are.
        at_once: how many may run at once.
        log: of each, with sbatch's %a for its index.
        commands: the file with a line for each.
        gpu: whether each needs a GPU.
        whole: whether each is a stage as a whole.
    """
    running = min(at_once, settings.max_jobs_run)
    cpus, mem = (min(at_once, settings.step_cpus), settings.step_mem) if whole else (settings.cpus, settings.mem)
    wanted = [
        f"--array=1-{count}%{running}",
        f"--cpus-per-task={cpus}",
        f"--mem={mem}",
        f"--time={settings.time}",
        *_common(settings, name, log, int(gpu)),
    ]
    return "\n".join(
        [
            *_head(wanted),
            f"# Each job runs one line of {commands}.",
            f"# By hand: cd {shlex.quote(str(ROOT))} && . ./path.sh, then that line.",
            *enter(settings),
            f'exec python -m sdpn.cluster.job {shlex.quote(str(commands))} "$SLURM_ARRAY_TASK_ID"',
            "",
        ]
    )


def training_script(
    settings: SlurmConfig, name: str, log: Path, commands: Path, exp: Path, ranks: int, gpu: bool
) -> str:
    """Return the script of a training, a job that is requeued where it was stopped; see `sdpn.cluster.requeue`.

    Args:
        ranks: its processes, one for each GPU.
        exp: the folder of the experiment.
        name, log, commands, gpu: see `array_script`.
    """
    nodes = min(settings.nodes, ranks)
    each = -(-ranks // nodes)
    wanted = [
        "--array=1-1",
        f"--nodes={nodes}",
        f"--ntasks={ranks}",
        f"--ntasks-per-node={each}",
        f"--cpus-per-task={settings.train_cpus}",
        f"--mem={settings.train_mem}",
        f"--time={settings.train_time}",
        f"--signal=B:USR1@{settings.signal_before}",
        *_common(settings, name, log, each if gpu else 0),
    ]
    words = ["python", "-m", "sdpn.cluster.requeue", str(commands), str(exp), str(ranks), str(settings.fruitless)]
    return "\n".join([*_head(wanted), *enter(settings), f"exec {shlex.join(words)}", ""])


def _common(settings: SlurmConfig, name: str, log: Path, gpus: int) -> list[str]:
    partition = (settings.gpu_partition if gpus else "") or settings.partition
    wanted = [f"--job-name={name}", f"--output={shlex.quote(str(log))}", "--open-mode=append", "--requeue"]
    wanted += [f"--partition={partition}"] if partition else []
    wanted += shlex.split(settings.gpu.replace("{count}", str(gpus))) if gpus else []
    return wanted + shlex.split(settings.options)


def _head(wanted: list[str]) -> list[str]:
    return ["#!/usr/bin/env bash", *(f"#SBATCH {option}" for option in wanted)]


def enter(settings: SlurmConfig) -> list[str]:
    """Return the lines that bring a job into the recipe's folder and environment."""
    return [
        *settings.setup,
        f"cd {shlex.quote(str(ROOT))} || exit 1",
        ". ./path.sh || exit 1",
    ]
