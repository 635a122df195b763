"""What stage 0 prepared: the sets of a data folder, their roles, and their trial lists."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdpn.console import warn
from sdpn.errors import SdpnError
from sdpn.files import RECORD_DIGEST, digest, write_record
from sdpn.shards import Work

COMBINED = "combined"
"""The name of a corpus that consists of others, see `sdpn.augment.combine`."""


@dataclass(frozen=True)
class Corpus:
    """The roles of the sets in a data folder, as `corpus.json` keeps them.

    Attributes:
        name: the corpus, e.g. "toy" or "folder".
        train: the training set, the one without speaker labels after stage 1.
        evals: the evaluation sets, in the order of the results table.
        trials: the trial lists: name of `trials/<name>.txt` -> the evaluation set whose utterances it names.
        noises: the noise sets by kind, of "noise" and "music"; a kind that the corpus lacks is absent.
        rir: the set of room impulse responses, or None.
        talkers: a set of other people's speech that babble is made of; None where training utterances serve.
        given_features: sets that came with features: set -> the Kaldi `feats.scp` in its folder that names them.
        options: what stage 0 was asked for (seed, folders), to tell one corpus from another.
    """

    name: str
    train: str
    evals: list[str]
    trials: dict[str, str]
    noises: dict[str, str] = field(default_factory=dict)
    rir: str | None = None
    talkers: str | None = None
    given_features: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """The data folders that this one is combined of; none where it is a corpus of its own."""
        return self.options.get("parts", []) if self.name == COMBINED else []

    @property
    def sets(self) -> list[str]:
        """Every set, training first."""
        clips = [*self.noises.values(), self.rir, self.talkers]
        return [self.train, *self.evals, *(name for name in clips if name)]

    def write(self, data_dir: str | Path) -> Path:
        """Write `data_dir/corpus.json`, the last act of stage 0; return its path."""
        path = Path(data_dir) / "corpus.json"
        write_record(path, dataclasses.asdict(self))
        return path

    @staticmethod
    def read(data_dir: str | Path) -> "Corpus":
        """Read `data_dir/corpus.json`.

        Raises:
            SdpnError: stage 0 has not been run on this folder.
        """
        path = Path(data_dir) / "corpus.json"
        if not path.exists():
            raise SdpnError(f"{path} is missing: run stage 0 first")
        try:
            record = json.loads(path.read_text(encoding="utf-8-sig"))
            written = record.pop(RECORD_DIGEST, None)  # earlier versions wrote none
            corpus = Corpus(**record)
        except (ValueError, TypeError, AttributeError):
            raise SdpnError(f"{path} is damaged: run stage 0 again with --corpus and its options") from None
        if written not in (None, digest(record)):
            warn(f"{path} is not what stage 0 has written: unless you have changed it yourself, run stage 0 again")
        return corpus

    @staticmethod
    def refuse_another(data_dir: str | Path, name: str, options: dict[str, Any]) -> None:
        """Make sure that `data_dir` holds no corpus, or this one with these options.

        Raises:
            SdpnError: it holds another one; what differs is named.
        """
        path = Path(data_dir) / "corpus.json"
        if not path.exists():
            return
        try:
            held = Corpus.read(data_dir)
        except SdpnError:
            made, asked = Work.finished(Path(data_dir), name), Work(Path(data_dir), name, {"options": options})
            if made and asked.fingerprint.items() <= made.fingerprint.items():
                return  # it is this one, whose corpus.json is damaged
            raise
        if held.name != name:
            differs = f"the corpus '{held.name}'"
        elif changed := [
            key
            for key in sorted(held.options.keys() | options.keys())
            if held.options.get(key) != options.get(key)  # an option that an older version did not have is None
        ]:
            differs = "the same corpus with " + ", ".join(f"{key} {held.options.get(key)}" for key in changed)
        else:
            return
        raise SdpnError(f"{data_dir} already holds {differs}: give another --data-dir, or remove {data_dir}")
