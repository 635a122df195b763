"""The trial lists of a data folder, each read once, without what earlier stages had to leave out."""

from functools import cache
from pathlib import Path

import numpy as np

from sdpn.console import warn
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.files import file_digest
from sdpn.shards import Work
from sdpn.tables import composed, read_columns, read_map
from sdpn.trials.arrays import TrialList
from sdpn.trials.lists import read_enroll_map
from sdpn.trials.names import describe_unknown


class TrialLists:
    """Gives the trial lists of `data_dir` by name, with the speakers of their trials."""

    def __init__(self, data_dir: Path, corpus: Corpus):
        self.data_dir, self.corpus = data_dir, corpus
        self.trials = cache(self._read)
        self.speakers = cache(self._speakers)

    def _read(self, name: str) -> TrialList:
        """The list without the trials of utterances that stage 1 or 2 left out; how many these are is said."""
        path = self.data_dir / "trials" / f"{name}.txt"
        made = Work(self.data_dir, self.corpus.name, {})
        for file in (path, path.with_suffix(".enroll.map")):
            try:
                made.refuse_changed(file, "unless you have changed it yourself, run stage 0 again")
            except SdpnError as error:
                warn(str(error))
        return self.read_file(path, name, self.corpus.trials[name])

    def read_file(self, path: Path, name: str, set_name: str) -> TrialList:
        """Read the trials in any file over the utterances of a set, as those of a list are read."""
        trials = TrialList.read(path, name, read_enroll_map(path.with_suffix(".enroll.map"), optional=True))
        lists = left_out_lists(self.data_dir / set_name)
        for listing in lists:
            made, stage = (("index", 2), ("cuts", 1))[listing.name == "skipped.tsv"]
            Work(listing.parent, made, {}).refuse_changed(listing, f"run stage {stage} again")
        names = {composed(name) for path in lists for name, *_ in read_columns(path)}
        left_out = names & set(trials.utterances)
        if not left_out:
            return trials
        usable = trials.without(left_out)
        lost = len(trials.is_target) - len(usable.is_target)
        found = " and ".join(map(str, lists))
        of = "an utterance" if len(left_out) == 1 else f"{len(left_out)} utterances"
        warn(f"{name}: {lost} trials left out, of {of} that could not be used, listed in {found}")
        return usable

    def _speakers(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """`TrialList.speakers`, by the evaluation set's own labels where it has them."""
        path, trials = self._utt2spk(name), self.trials(name)
        utt2spk = read_map(path, optional=True)
        unknown = trials.without_speaker(utt2spk)
        if utt2spk and unknown:
            warn(
                f"{name}: {len(unknown)} of {len(trials.utterances)} utterances have no speaker in {path}, the first "
                f"{unknown[0]}: for the intervals those are one speaker whom target trials join"
            )
        return trials.speakers(utt2spk)

    def speakers_digest(self, name: str) -> str:
        """What the speakers depend on beside the trial list."""
        path = self._utt2spk(name)
        Work(path.parent, "cuts", {}).refuse_changed(path, "run stage 1 again")
        return file_digest(path) if path.exists() else "those whom target trials join"

    def _utt2spk(self, name: str) -> Path:
        return self.data_dir / self.corpus.trials[name] / "utt2spk"


def left_out_lists(set_dir: Path) -> list[Path]:
    """Return the files that name what stages 1 and 2 left out of a set, those of them that there are."""
    return [path for path in (set_dir / "skipped.tsv", set_dir / "skipped_fbank.txt") if path.exists()]


def read_speakers(path: str | Path, ids: list[str]) -> np.ndarray:
    """The speaker of each of the training utterances `ids` by the utt2spk in `path`: (n_utterances,) integers.

    Raises:
        SdpnError: see `read_map`; or it does not know some of them.
    """
    speakers = read_map(path)
    names = [composed(name) for name in ids]
    unknown = [name for name in names if name not in speakers]
    if unknown:
        raise SdpnError(
            f"{path}: {len(unknown)} of {len(ids)} training utterances have no speaker in it: "
            f"{describe_unknown(unknown, speakers)}"
        )
    return np.unique([speakers[name] for name in names], return_inverse=True)[1]
