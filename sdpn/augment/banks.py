"""The banks of stage 3, opened for training."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sdpn.augment.config import AugmentConfig, BankConfig
from sdpn.config import parse_yaml
from sdpn.console import warn
from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex
from sdpn.files import digest
from sdpn.shards import Work


class Copy:
    """A cached copy of the training set; utterances that could not be made are absent from it.

    Attributes:
        index: its features.
        rows: (n_utterances,) for every utterance of the training set its number in the copy, -1 where it is absent.
    """

    def __init__(self, index: FeatureIndex, train: FeatureIndex):
        self.index = index
        # by the keys of the ids, which are numbers and mapped: a list of a million names would stay in memory
        order = np.argsort(index.keys)
        found = np.minimum(np.searchsorted(index.keys, train.keys, sorter=order), len(index) - 1)
        self.rows = np.where(index.keys[order[found]] == train.keys, order[found], -1)


@dataclass(frozen=True)
class Speed:
    """The training set at one speed.

    Attributes:
        factor: 1 is the speed it was spoken at.
        clean: the copy without reverberation; None for the training set itself.
        reverbs: its reverberated copies.
    """

    factor: float
    clean: Copy | None
    reverbs: list[Copy] = field(default_factory=list)


class Banks:
    """What student views are augmented with.

    Args:
        reverbs: reverberated copies of the training set as it was spoken.
        noises: feature indices of noise clips by kind, of `config.NOISE_KINDS`.
        others: the training set at other speeds.
        as_spoken: whether the speed it was spoken at is among those drawn.
        rooms: room impulse responses, for banks of audio; None for banks of fbank.
        max_taps: responses are cut off there.

    Attributes:
        speeds: what the speed of an utterance is drawn from.
        noises, rooms, max_taps: as above.
        fingerprint: digest of all of it.
    """

    def __init__(
        self,
        reverbs: list[Copy],
        noises: dict[str, FeatureIndex],
        others: list[Speed] | None = None,
        as_spoken: bool = True,
        rooms: FeatureIndex | None = None,
        max_taps: int | None = None,
    ):
        self.speeds = ([Speed(1.0, None, reverbs)] if as_spoken else []) + (others or [])
        self.noises, self.rooms, self.max_taps = noises, rooms, max_taps
        self.fingerprint = digest(
            [
                [speed.factor, *(copy.index.fingerprint for copy in [speed.clean, *speed.reverbs] if copy)]
                for speed in self.speeds
            ],
            {kind: index.fingerprint for kind, index in noises.items()},
            *([rooms.fingerprint, max_taps] if rooms else []),
        )


def bank_names(reverb_copies: int, speeds: tuple[float, ...]) -> dict[float, list[str]]:
    """The folders below augment/ that hold copies of the training set, by speed: the clean one first, then the others.

    As it was spoken, the clean one is the training set itself, and its place is empty.
    """
    names = {}
    for speed in speeds:
        suffix = "" if speed == 1 else f"-speed{speed:g}"
        reverbs = [f"reverb{number}{suffix}" for number in range(1, reverb_copies + 1)]
        names[speed] = ["" if speed == 1 else f"speed{speed:g}", *reverbs]
    return names


def open_banks(data_dir: str | Path, train: FeatureIndex, mode: str = "mel") -> Banks:
    """Open what stage 3 made in `data_dir`/augment for a mode of augmentation, of `config.MODES`.

    Raises:
        SdpnError: stage 3 has not been run, or for another mode; the training set's features have changed since.
    """
    if mode == "off":
        return Banks([], {})
    folder = Path(data_dir) / "augment"
    made = Work.finished(folder, "augment")
    if made is None:
        raise SdpnError(f"{folder} is missing or unfinished: run stage 3 first")
    if made.fingerprint.get("train") != train.fingerprint:
        raise SdpnError(f"the features in {train.directory} have changed since {folder} was made: run stage 3 again")
    report = made.report()
    for part, identity in report.get("parts", {}).items():  # of a combined data folder
        theirs = Work.finished(Path(part) / "augment", "augment")
        if theirs is None or theirs.identity != identity:
            raise SdpnError(f"{part}/augment has changed since {data_dir} was combined: combine it again")
    if not {"mode", "noises", "copies", "rooms", "max_taps"} <= report.keys():
        raise SdpnError(f"{folder} was made by another version: run stage 3 again")
    if report["mode"] != mode:
        raise SdpnError(f"{folder} was made with --augment {report['mode']}: run stage 3 with --augment {mode}")
    if mode == "waveform":
        return _audio_banks(folder, report, train)
    noises = {kind: _open(folder / kind, train) for kind in report["noises"]}
    speeds = []
    for factor, (clean, *reverbs) in report["copies"]:
        copies = [Copy(_open(folder / name, train), train) for name in reverbs]
        speeds.append(Speed(factor, Copy(_open(folder / clean, train), train) if clean else None, copies))
    spoken = next((speed for speed in speeds if speed.clean is None), None)
    others = [speed for speed in speeds if speed.clean is not None]
    return Banks(spoken.reverbs if spoken else [], noises, others, spoken is not None)


def warn_of_other_settings(data_dir: str | Path, config_file: str | Path, config: AugmentConfig) -> None:
    """Warn where stage 3 made the banks with other settings than `config_file`, which `config` was read from, names.

    The mode is left to `open_banks`; what the file leaves out may have been given to stage 3 on its command line.
    """
    folder = Path(data_dir) / "augment"
    made = Work(folder, "augment", {}).report().get("settings", {})
    if config.augment == "off" or not made:
        return
    asked = json.loads(json.dumps(config.part(BankConfig)))  # as the report has it: lists, no tuples
    named = parse_yaml(Path(config_file).read_text(encoding="utf-8")) or {}
    changed = [name for name in asked if name in named and name in made and asked[name] != made[name]]
    differences = [f"{name} was {made[name]!r}, is {asked[name]!r}" for name in changed if name != "augment"]
    if differences:
        warn(
            f"{folder} was made with other settings than {config_file} has: {'; '.join(differences)}: "
            "run stage 3 again to have them"
        )


def _audio_banks(folder: Path, report: dict, train: FeatureIndex) -> Banks:
    speeds = [
        Speed(factor, Copy(FeatureIndex.open(folder / clean, "stage 3"), train))
        for factor, (clean, *_) in report["copies"]
    ]
    for speed in speeds:
        lacking = int((speed.clean.rows < 0).sum())
        if lacking:
            raise SdpnError(f"{speed.clean.index.directory} lacks {lacking} utterances of {train.directory}: see there")
    noises = {kind: FeatureIndex.open(folder / kind, "stage 3") for kind in report["noises"]}
    rooms = FeatureIndex.open(folder / "rooms", "stage 3") if report["rooms"] else None
    return Banks([], noises, speeds, as_spoken=False, rooms=rooms, max_taps=report["max_taps"])


def _open(directory: Path, train: FeatureIndex) -> FeatureIndex:
    index = FeatureIndex.open(directory, "stage 3")
    made, wanted = ({**one.config.spectral(), "vad": None} for one in (index, train))
    if made != wanted:
        raise SdpnError(f"{directory} has other fbank settings than {train.directory}: run stage 3 again")
    return index
