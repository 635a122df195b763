"""Work killed at every moment that matters: between any two changes of names in a folder."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path


def killed_at_every_change(work: Callable[[Path], object], folder: Path) -> Iterator[Path]:
    """Kill `work` before its first, second, ... renaming or removing of a file: what it worked on, each time.

    Args:
        work: is given an empty folder; runs in a forked process, killed by SIGKILL.
        folder: where the folders that `work` is given are made.

    Yields:
        the folder of every run that was killed; the last run, which makes fewer changes, ends by itself.
    """
    for moment in count(1):
        target = folder / f"killed{moment}"
        process = multiprocessing.get_context("fork").Process(target=_killed, args=(work, target, moment))
        process.start()
        process.join()
        if process.exitcode == 0:
            assert moment > 1, "the work changed nothing"
            return
        assert process.exitcode == -signal.SIGKILL
        yield target


def _killed(work: Callable[[Path], object], target: Path, moment: int) -> None:
    changes = count(1)

    def counted(change):
        def changing(path, *args, **options):
            if os.path.lexists(path) and next(changes) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(path, *args, **options)

        return changing

    os.replace, os.unlink = counted(os.replace), counted(os.unlink)
    work(target)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but locks, with its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
