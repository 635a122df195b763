"""Steps that know what they were made from: what has been done already, and whether it still holds.

A piece of work (a shard of fbanks, a cut manifest, a score file) declares its inputs once, by name: values, settings,
files and other pieces of work. Their fingerprint, key by key, is written into the work's done-file after all its
outputs stand under their final names. The work is reused while the fingerprint is unchanged and its outputs are there;
otherwise `stale_reason` says which input it is, what it was and what it is now.

Example::

    cuts = Work(Path("data/train"), "cuts", {"recordings": Path("data/train/recordings.jsonl.gz"), "limits": limits})
    fbank = Work(
        Path("data/train"),
        "fbank",
        {
            "cuts": cuts,  # another piece of work: what that was made from
            "fbank": FbankConfig(num_mel_bins=40),  # settings, key by key: `fbank.num_mel_bins`, `fbank.low_freq`, ...
            "items": digest(items),  # what is too long to be recorded
            "noises": Path("data/noise.txt"),  # a file: what is in it, wherever it lies; None while there is none
            "versions": {"numpy": version("numpy")},
        },
    )
    if reason := fbank.stale_reason():
        print(reason)  # "fbank.num_mel_bins was 80, is 40; data/noise.txt changed"
        fbank.begin()  # killed from here on, it counts as not done
        write_features(path)
        fbank.finish([path], utterances=7)  # with a digest of what is in the file
    fbank.report()  # {"utterances": 7}
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sdpn.errors import SdpnError
from sdpn.files import digest, file_digest, file_stamp, read_record, write_record

_DIGEST = re.compile("[0-9a-f]{32}")
_PARTS = ("fingerprint", "outputs", "report")
_MOST_REASONS = 3  # that are named; of the others their number
_MOST_CHARACTERS = 60  # of a value that is shown


def prepares(run: Callable) -> bool:
    """Return whether this process has the folder to itself while `run` makes shards; a job of an array has not."""
    return getattr(run, "prepares", True)


def completes(run: Callable) -> bool:
    """Return whether `run` makes all the shards it is given, so that what they are for can be made of them."""
    return getattr(run, "completes", True)


@dataclass(frozen=True)
class Work:
    """One piece of work in `directory`; the module's docstring has an example.

    Attributes:
        directory: the folder that holds the outputs; the done-file is `directory/done/<name>.json`.
        name: unique within the folder.
        inputs: what the outputs depend on, by name. A value is None, a string, a number, a list of these, a `Path` (the
            content of the file counts), another `Work` (its fingerprint counts), or a dictionary or dataclass of such
            values, whose keys are recorded one by one. A string of `files.digest` stands for content too long to show.
    """

    directory: Path
    name: str
    inputs: Mapping[str, Any] = field(hash=False)

    @property
    def done_file(self) -> Path:
        return Path(self.directory) / "done" / f"{self.name}.json"

    @classmethod
    def finished(cls, directory: Path, name: str) -> "Work | None":
        """Return the work as it was finished, with the fingerprint it then had; None if it was not finished."""
        record = cls(directory, name, {})._record()
        return cls(directory, name, record["fingerprint"]) if record else None

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What the outputs depend on, key by key, as it is recorded; files are read when it is first asked for."""
        return {key: _recorded(value) for key, value in self._leaves.items()}

    @property
    def identity(self) -> str:
        """What changes when the fingerprint does: 32 hexadecimal digits."""
        return digest(self.fingerprint)

    def stale_reason(self) -> str | None:
        """Return None if the work is done and still holds; else why it must be done, in a few words."""
        record = self._record()
        if record is None:
            return "not done yet"
        before, now = record["fingerprint"], self.fingerprint
        if before != now:
            lacking = len(now.keys() - before.keys())
            if lacking > max(_MOST_REASONS, len(now) // 2):  # to name three of them would tell nobody anything
                return f"{lacking} of its {len(now)} inputs were not recorded, as by an older version"
            reasons = [self._change(key, before, now) for key in {**now, **before} if not _same(key, before, now)]
            more = len(reasons) - _MOST_REASONS
            return "; ".join(reasons[:_MOST_REASONS]) + (f"; and {more} more" if more > 0 else "")
        for output, written in record["outputs"].items():
            path = Path(self.directory) / output
            size, content = written if isinstance(written, list) else (written, None)
            stamp = file_stamp(path)
            if stamp is None:
                return f"{output} is missing"
            if stamp.size != size:
                return f"{output} has another size"
            if content is not None and file_digest(path) != content:
                return f"{output} has been changed"
        again = record["report"].get("again")
        return f"{len(again)} items could not be fetched" if again else None

    def is_new(self) -> bool:
        """Return whether it was never finished before (rather than finished and gone stale)."""
        return self._record() is None

    def was_made_so(self) -> bool:
        """Return whether it was finished with these inputs, whatever has become of its outputs."""
        record = self._record()
        return record is not None and record["fingerprint"] == self.fingerprint

    def begin(self) -> None:
        """Look at the inputs, and forget an earlier completion, before the outputs are touched."""
        _ = self.fingerprint  # what changes later, while the work is done, is not in it
        self.done_file.unlink(missing_ok=True)

    def finish(self, outputs: list[Path], checked: Collection[Path] = (), **report: Any) -> None:
        """Record that the outputs are whole: their sizes and digests, so that any change of them is noticed.

        Args:
            outputs: files in or below `directory`.
            checked: large ones among them that carry checksums of their own, which are verified when they are read: of
                these the size alone is recorded.
            report: small values to be kept with the record. Items listed as `again` could not be made this time; as
                long as there are any, the work counts as stale and is done again.
        """
        written = {}
        for path in map(Path, outputs):
            size = path.stat().st_size
            written[str(path.relative_to(self.directory))] = size if path in checked else [size, file_digest(path)]
        record = {"fingerprint": self.fingerprint, "outputs": written, "report": report}
        write_record(self.done_file, record)

    def report(self) -> dict[str, Any]:
        """Return what `finish` was told beside the outputs; empty if the work is not done."""
        record = self._record()
        return record["report"] if record else {}

    def output_digests(self) -> dict[str, str]:
        """Return the digests of the outputs that `finish` recorded, by name; of no output if it was to record none."""
        record = self._record()
        outputs = record["outputs"].items() if record else ()
        return {output: written[1] for output, written in outputs if isinstance(written, list)}

    def refuse_changed(self, path: Path, remedy: str) -> None:
        """Make sure that one of its outputs is what `finish` recorded; one that is gone, or has no digest, is let pass.

        Args:
            path: the output.
            remedy: what makes it anew, for the sentence, e.g. "run stage 5 again".

        Raises:
            SdpnError: it is not.
        """
        written = self.output_digests().get(str(Path(path).relative_to(self.directory)))
        if written is not None and path.exists() and file_digest(path) != written:
            raise SdpnError(f"{path} is not what was written: {remedy}")

    @cached_property
    def _leaves(self) -> dict[str, Any]:
        return dict(_flatten(self.inputs, ""))

    def _change(self, key: str, before: dict[str, Any], now: dict[str, Any]) -> str:
        """Say in a few words how an input has changed."""
        source = self._leaves.get(key)
        if isinstance(source, Work):
            reason = source.stale_reason()
            return f"{key}: {reason}" if reason else f"{key} changed"
        name = str(source) if isinstance(source, Path) else key
        old, new = before.get(key), now.get(key)
        if _is_digest(old) or _is_digest(new):
            return f"{name} is new" if old is None else f"{name} is gone" if new is None else f"{name} changed"
        was = f"was {_shown(old)}" if key in before else "was not recorded"
        return f"{name} {was}, {f'is {_shown(new)}' if key in now else 'does not count any more'}"

    def _record(self) -> dict[str, Any] | None:
        """What `finish` wrote; None where there is nothing, or it is damaged."""
        try:
            record = read_record(self.done_file, _PARTS)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return record if all(isinstance(part, dict) for part in record.values()) else None


def _flatten(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the keys, joined by points, and the values of nested settings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, Work):
        value = {part.name: getattr(value, part.name) for part in dataclasses.fields(value)}
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, part in value.items():
        yield from _flatten(part, f"{key}.{name}" if key else str(name))


def _recorded(value: Any) -> Any:
    """The form of a value in the fingerprint: what JSON gives back when it is read."""
    if isinstance(value, Work):
        return value.identity
    if isinstance(value, Path):
        return file_digest(value) if value.exists() else None
    return [_recorded(part) for part in value] if isinstance(value, (list, tuple)) else value


def _same(key: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    return key in before and key in now and before[key] == now[key]


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _shown(value: Any) -> str:
    text = "nothing" if value in (None, "") else str(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
