"""What has been done already, and whether it still holds: one done-file for each piece of work.

A piece of work (a shard of fbanks, a cut manifest, a score file) has a name and a fingerprint: a small dictionary
of named strings or numbers that say what went in (digests of inputs, options, versions). Its done-file is written
after all its outputs stand under their final names, and it holds the fingerprint and the sizes of the outputs. The
work is reused while its fingerprint is unchanged and its outputs are there; otherwise `stale_reason` says why not.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdpn.files import write_json


@dataclass(frozen=True)
class Work:
    """One piece of work in `directory`, e.g. Work(Path("data/train"), "fbank.003", {"options": "9f0c..."}).

    Attributes:
        directory: the folder that holds the outputs; the done-file is `directory/done/<name>.json`.
        name: unique within the folder.
        fingerprint: what the outputs depend on, by name; values are strings or numbers.
    """

    directory: Path
    name: str
    fingerprint: dict[str, Any] = field(hash=False)

    @property
    def done_file(self) -> Path:
        return Path(self.directory) / "done" / f"{self.name}.json"

    @classmethod
    def finished(cls, directory: Path, name: str) -> "Work | None":
        """The piece of work as it was finished, with the fingerprint it then had; None where it was not finished."""
        record = cls(directory, name, {})._record()
        return cls(directory, name, record["fingerprint"]) if record else None

    def stale_reason(self) -> str | None:
        """None where the work is done and still holds; else why it must be done, in a few words."""
        record = self._record()
        if record is None:
            return "not done yet"
        before, now = record["fingerprint"], self.fingerprint
        for part in sorted(before.keys() | now.keys()):
            if before.get(part) != now.get(part):
                return f"{part} changed"
        for output, size in record["outputs"].items():
            path = Path(self.directory) / output
            if not path.exists():
                return f"{output} is missing"
            if path.stat().st_size != size:
                return f"{output} has another size"
        again = record["report"].get("again")
        return f"{len(again)} items could not be fetched" if again else None

    def is_new(self) -> bool:
        """Whether it was never finished before (rather than finished and gone stale)."""
        return self._record() is None

    def begin(self) -> None:
        """Forget an earlier completion, before the outputs are touched."""
        self.done_file.unlink(missing_ok=True)

    def finish(self, outputs: list[Path], **report: Any) -> None:
        """Record that `outputs` (files in or below `directory`) are whole; `report` is kept beside them.

        What it lists as `again` was left out and may be had another time, so the work is then stale.
        """
        sizes = {str(Path(path).relative_to(self.directory)): Path(path).stat().st_size for path in outputs}
        write_json(self.done_file, {"fingerprint": self.fingerprint, "outputs": sizes, "report": report})

    def report(self) -> dict[str, Any]:
        """What `finish` was told beside the outputs; empty where the work is not done."""
        record = self._record()
        return record["report"] if record else {}

    def _record(self) -> dict[str, Any] | None:
        try:
            record = json.loads(self.done_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):  # or damaged
            return None
        parts = [record.get(part) for part in ("fingerprint", "outputs", "report")] if isinstance(record, dict) else []
        return record if parts and all(isinstance(part, dict) for part in parts) else None
