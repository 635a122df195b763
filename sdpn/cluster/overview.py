"""The jobs below a folder, in plain words."""

from collections.abc import Iterator
from pathlib import Path

from sdpn.cluster import slurm
from sdpn.cluster.arrays import Record, status_of
from sdpn.errors import SdpnError

_SHOWN = 10  # shards of a step that are named in each state


def overview(folder: Path) -> Iterator[str]:
    """Yield a line for each step whose jobs were submitted from DATA or EXP, and one for each shard that is not done.

    Raises:
        SdpnError: no jobs were submitted from there.
    """
    records = [Record.read(path) for path in sorted((folder / "cluster").glob("*.jobs.json"))]
    if not records:
        raise SdpnError(f"{folder}: no jobs were submitted from there: `--cmd slurm` does it")
    in_queue, unknown = _in_queue(records)
    for record in records:
        states: dict[str, list[str]] = {"done": [], "running": [], "waiting": [], "failed": [], "unknown": []}
        for name, done_file in record.done_files.items():
            state, where = _state(record, name, Path(done_file), in_queue, unknown)
            states[state].append(f"    {name}: {where}")
        counts = ", ".join(f"{len(names)} {state}" for state, names in states.items() if names or state != "unknown")
        yield f"{record.path.name.removesuffix('.jobs.json')}: {counts}"
        for state, lines in states.items():
            if state == "done" or not lines:
                continue
            yield f"  {state}:"
            yield from lines[:_SHOWN]
            if len(lines) > _SHOWN:
                yield f"    and {len(lines) - _SHOWN} more"


def _in_queue(records: list[Record]) -> tuple[dict, str]:
    """Return what is in the queue, and why that is not known where it is not."""
    jobs = [array.job for record in records for array in record.arrays if array.job.isdecimal()]
    try:
        return slurm.queue(jobs), ""
    except (slurm.UnansweredError, SdpnError) as error:
        return {}, str(error)


def _state(record: Record, name: str, done_file: Path, in_queue: dict, unknown: str) -> tuple[str, str]:
    """Return the state of a shard, and its log or why there is none."""
    found = record.find(name)
    if found is None:
        return ("done", "") if done_file.exists() else ("waiting", "not submitted yet")
    array, index = found
    log = array.log(record.path.parent, index)
    if (entry := in_queue.get((array.job, index))) is not None:
        state, reason = entry
        return ("running", str(log)) if state == "RUNNING" else ("waiting", f"{state.lower()} ({reason})")
    status = status_of(record.path.parent, array.name, index)
    if status["status"] == 0 if done_file == record.path and status else done_file.exists():
        return "done", ""
    return ("unknown", unknown) if unknown else ("failed", str(log))
