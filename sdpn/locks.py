"""Who works in a folder: locks that say who holds them, also where the file system has none, and temporary names."""

import errno
import fcntl
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from sdpn.errors import SdpnError

BEAT = 30.0
"""s between two signs of life of a process that holds a lock by a file of its own."""
DEAD = 600.0
"""s without a sign of life after which the holder of such a lock, on another machine, counts as dead."""

_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # Lustre and NFS as some sites mount them
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_PARTIAL = re.compile(r"\..*\.partial-((?P<host>\w+)-(?P<job>\d+)-)?(?P<pid>\d+)(\..*)?")
_OLD = 86400.0  # s after which the temporary file of another machine, which cannot be asked, is a dead process's


@dataclass(frozen=True)
class Holder:
    """A process that works in a folder.

    Attributes:
        host: the name of its machine.
        job: the number of its Slurm job, "0" outside of one.
        pid: its number on that machine.
        begun: what tells it from a later process of that number: its start, in the kernel's ticks; 0 where unknown.
        since: when it took the lock, s since 1970.
    """

    host: str
    job: str
    pid: int
    begun: int
    since: float

    @staticmethod
    def this() -> "Holder":
        """Return this process."""
        job = os.environ.get("SLURM_JOB_ID", "0")
        return Holder(
            socket.gethostname(), job if job.isdecimal() else "0", os.getpid(), _begun(os.getpid()), time.time()
        )

    @staticmethod
    def read(path: Path) -> "Holder | None":
        """Return who a lock file names; None where it names nobody."""
        try:
            return Holder(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    def is_dead(self) -> bool:
        """Return whether it is known to have ended; of a process of another machine that is not known."""
        return self.is_here and (not _runs(self.pid) or _begun(self.pid) != self.begun)

    def __str__(self) -> str:
        job = "" if self.job == "0" else f" of the Slurm job {self.job}"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid}{job} on {self.host}, since {since}"


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold a lock file for this process alone, with the kernel's lock, which goes with the process when it is killed.

    Where the file system has none (ENOSYS, ENOLCK), a second file, `<lock>.holder`, is made that may not be there yet;
    its holder shows signs of life, and one that is dead is taken from it, with a sentence. A folder that may not be
    written needs no lock: nobody can change it.

    Raises:
        SdpnError: another process holds it; the sentence says which, and since when.
        OSError: it cannot be made.
    """
    try:
        opened = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in _UNWRITABLE or not lock.parent.is_dir():
            raise
        if not lock.exists():
            yield
            return
        opened = os.open(lock, os.O_RDONLY)  # another user's, who may be at work
    with os.fdopen(opened, "rb+" if os.access(lock, os.W_OK) else "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(lock.parent, Holder.read(lock)) from None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            with _held_by_a_file(lock):
                yield
            return
        _sign(lock, file.fileno())
        yield


def _sign(lock: Path, descriptor: int) -> None:
    """Write into a lock file who holds it, for those who find it taken."""
    with suppress(OSError):  # of another user, or on a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(Holder.this())).encode(), 0)


@contextmanager
def _held_by_a_file(lock: Path) -> Iterator[None]:
    path = lock.with_name(f"{lock.name}.holder")
    mine = Holder.this()
    for _ in range(3):  # a dead holder's is taken away once; several may want to at the same time
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            break
        except FileExistsError:
            _break_if_dead(path)
    else:
        raise _taken(lock.parent, Holder.read(path))
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(mine), file)
    ended = threading.Event()

    def show_life() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):
                os.utime(path)

    beating = threading.Thread(target=show_life, name="sign of life", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        if Holder.read(path) == mine:
            path.unlink(missing_ok=True)


def _break_if_dead(path: Path) -> None:
    """Take the lock file of a dead holder away, and say so.

    Raises:
        SdpnError: the holder is alive, or nothing tells that it is not.
    """
    holder, seen = Holder.read(path), _silence(path)
    dead = holder.is_dead() if holder and holder.is_here else seen is not None and seen > DEAD
    if seen is None:  # it went meanwhile
        return
    if not dead:
        raise _taken(path.parent, holder)
    aside = path.with_name(f"{path.name}.broken-{os.getpid()}")
    with suppress(FileNotFoundError):
        os.rename(path, aside)  # of several who find it dead, one succeeds
        print(
            f"  the lock of {path.parent} is taken from {holder or 'a process that has left no name'}: it is dead",
            flush=True,
        )
        aside.unlink(missing_ok=True)


def _silence(path: Path) -> float | None:
    """How long ago the last sign of life was, by the clock of the file server, s; None where the file is gone."""
    probe = path.with_name(f"{path.name}.clock-{os.getpid()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return None
    finally:
        probe.unlink(missing_ok=True)


def _taken(folder: Path, holder: Holder | None) -> SdpnError:
    who = f" ({holder})" if holder else ""
    return SdpnError(f"another run is writing into {folder}{who}: wait for it or stop it first")


def is_held(lock: Path) -> bool:
    """Return whether a process holds a lock file; on this machine, or where the file system shares locks."""
    holder = lock.with_name(f"{lock.name}.holder")
    if (silence := _silence(holder) if holder.exists() else None) is not None:
        found = Holder.read(holder)
        return not (found.is_dead() if found and found.is_here else silence > DEAD)
    try:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:  # no flock, and no holder's file
        return False
    return False


def partial_name(path: Path) -> Path:
    """Return a name beside `path` for this process to write to; it keeps the suffixes: some writers go by them."""
    stem, dot, suffixes = path.name.partition(".")
    mine = Holder.this()
    host = re.sub(r"\W", "_", mine.host)
    return path.with_name(f".{stem}.partial-{host}-{mine.job}-{mine.pid}{dot}{suffixes}")


def remove_partial(directory: str | Path) -> None:
    """Remove the temporary files that dead processes left in `directory` and below it.

    Folders below that are locked on their own, and may be in use, are left alone; and so is what a process of another
    machine has written to within a day.
    """
    host = re.sub(r"\W", "_", socket.gethostname())
    for folder, below, files in os.walk(directory):
        if ".lock" in files and Path(folder) != Path(directory):
            below.clear()
            continue
        for name in files:
            found = _PARTIAL.fullmatch(name) if ".partial-" in name else None
            if found and _is_left_over(Path(folder, name), found, host):
                Path(folder, name).unlink(missing_ok=True)


def _is_left_over(path: Path, name: re.Match[str], host: str) -> bool:
    if name["host"] is None:  # an earlier version's
        return True
    if name["host"] == host:
        return not _runs(int(name["pid"]))
    try:
        return time.time() - path.stat().st_mtime > _OLD
    except FileNotFoundError:
        return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _begun(pid: int) -> int:
    """The start of a process in the kernel's ticks; 0 where that cannot be found out."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
