"""What run.sh assumes for each kind of corpus: the options it knows and needs, and the settings that suit it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CLIPS = ("musan", "rirs", "noise-dir", "music-dir", "rir-dir")
_TRIALS = ("trials", "enroll-map")


@dataclass(frozen=True)
class Kind:
    """A kind of corpus.

    Attributes:
        own: the options that it knows, among those that not every corpus knows.
        needed: those of them that must be given.
        downloadable: those of `needed` that --download fetches.
        config: the settings of stage 4.
        finetune: the settings of stages 7 and 8.
        settings: settings that suit it better than those in conf/, "section.key" -> value.
    """

    own: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    downloadable: tuple[str, ...] = ()
    config: str = "conf/sdpn/small.yaml"
    finetune: str = "conf/finetune/small.yaml"
    settings: Mapping[str, str] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "toy": Kind(
        config="conf/sdpn/toy.yaml",
        finetune="conf/finetune/toy.yaml",
        settings={
            "extraction.views": "2",  # its utterances are short
            "extraction.view_frames": "200",
            "augment.p_equalize": "0",  # its speakers come through several channels each
            "augment.p_band_limit": "0",
        },
    ),
    "voxceleb": Kind(
        own=("voxceleb1", "voxceleb2", "voxceleb-trials", *_TRIALS, "download", *_CLIPS),
        needed=("voxceleb1", "voxceleb2"),
        config="conf/sdpn/paper.yaml",
        finetune="conf/finetune/paper.yaml",
        settings={"cuts.min_duration": "2"},
    ),
    "cnceleb": Kind(
        own=("cnceleb1", "cnceleb2", *_TRIALS, "download", *_CLIPS),
        needed=("cnceleb1",),
        downloadable=("cnceleb1",),
        config="conf/sdpn/paper.yaml",
        finetune="conf/finetune/paper.yaml",
        settings={"cuts.max_skipped": "0.5"},  # it has many utterances below a second
    ),
    "kaldi": Kind(own=("train", "eval", "eval-share", *_TRIALS, "allow-pipes", *_CLIPS), needed=("train",)),
    "lhotse": Kind(own=("train", "eval", "eval-share", *_TRIALS, "allow-pipes", *_CLIPS), needed=("train",)),
    "folder": Kind(
        own=("corpus-dir", "eval-share", "labelled", *_TRIALS, *_CLIPS),
        needed=("corpus-dir",),
    ),
}
COMBINED = "combined"
"""Several data folders made one by local/combine.py: it is only ever found, never asked for."""

OWN = frozenset(name for kind in KINDS.values() for name in kind.own)
"""The options that some corpora know and others do not."""


def kind_of(corpus: str) -> Kind:
    """Return what is assumed for a corpus of this name."""
    return KINDS.get(corpus, Kind())


def held_corpus(data: Path) -> tuple[str, dict[str, Any]] | None:
    """Return the name of the corpus that a data folder holds and the options of its stage 0; None if it holds none.

    What `sdpn.corpus.layout.Corpus` reads and checks in full is only looked at here. A damaged file counts as none: the
    programs say what is wrong with it.
    """
    try:
        held = json.loads((data / "corpus.json").read_text(encoding="utf-8-sig"))
        return str(held["name"]), dict(held.get("options", {}))
    except (OSError, ValueError, KeyError, TypeError):
        return None
