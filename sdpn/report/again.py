"""The lines that make an experiment again, for whoever reads its results."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdpn.augment.config import ViewConfig
from sdpn.config import parse_yaml, word_count
from sdpn.extraction.baselines import UNTRAINED
from sdpn.extraction.views import VIEWS
from sdpn.finetune.config import FineTuneConfig
from sdpn.finetune.labels import CLUSTERS, LABELS, UTT2SPK
from sdpn.shards import Work

_UNKNOWN_DATA = "DATA"  # earlier versions did not keep where it was


def again(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return the lines that make an experiment again from its data folder: training, x-vectors, results, beside it.

    They say all that the results depend on, whatever the files in conf/ say by then, except the chains of back-ends
    in conf/backend/. An experiment without a training, as of an imported model, is only scored again, where it is.

    Args:
        settings: of stage 6, with its seed, and the data folder as `data`.
    """
    data = str(settings.get("data", _UNKNOWN_DATA))
    scored = option_words({key: value for key, value in settings.items() if key != "data" and value != ""})
    if not (folder / "config.yaml").exists():
        return [". ./path.sh", shlex.join(["steps/score.py", *scored, data, str(folder)])]
    new = f"{folder}-again"
    training = parse_yaml((folder / "config.yaml").read_text(encoding="utf-8"))
    making = _round if "learned_from" in training else _training
    extraction = shlex.join([*_extraction(folder), data, new])
    return [
        *making(folder, training, data, new),
        f'steps/extract_xvectors.py --nj "$(nproc)" {extraction}',
        shlex.join(["steps/score.py", *scored, data, new]),
    ]


def _training(folder: Path, training: dict[str, Any], data: str, new: str) -> list[str]:
    """The lines of stage 4, by run.sh, which makes the environment where there is none."""
    words = ["--stage", "4", "--stop-stage", "4", "--config", str(folder / "config.yaml")]
    words += ["--seed", str(training.get("seed", 1))]
    if mode := training.get("augment", {}).get("augment"):
        words += ["--augment", mode]
    return [shlex.join(["./run.sh", *words, "--data-dir", data, "--exp-dir", new]), ". ./path.sh"]


def _round(folder: Path, training: dict[str, Any], data: str, new: str) -> list[str]:
    """The lines of stages 7 and 8."""
    made = Work.finished(folder / LABELS, LABELS)
    report, inputs = (made.report(), made.fingerprint) if made else ({}, {})
    source, begun = str(report.get("experiment", "EXP")), str(training.get("init", "EXP"))
    if report.get("source", CLUSTERS) == CLUSTERS:
        chosen = {key.removeprefix("labels."): value for key, value in inputs.items() if key.startswith("labels.")}
        labels = option_words({**chosen, "seed": inputs.get("seed")})
    else:
        labels = option_words({"labels": folder / LABELS / UTT2SPK})
    known = {field.name for field in dataclasses.fields(FineTuneConfig)}
    tuned = option_words({key: value for key, value in training.items() if key in known}, FineTuneConfig)
    tuned += [*option_words(training.get("augment", {}), ViewConfig), "--init", begun]
    return [
        ". ./path.sh",
        shlex.join(["steps/make_pseudo_speakers.py", *labels, data, source, new]),
        shlex.join(["steps/finetune.py", *tuned, data, new]),
    ]


def _extraction(folder: Path) -> list[str]:
    """The options of stage 5, as its done-files have them."""
    sets = sorted(path for path in (folder / "xvectors").glob("*") if path.is_dir())
    found = [work for path in sets if (work := Work.finished(path, "xvectors"))]
    of_views = [work for path in sets if (work := Work.finished(path / VIEWS, "xvectors"))]
    untrained = (folder / "systems" / UNTRAINED / "xvectors").is_dir()
    chosen: dict[str, Any] = {"baselines": UNTRAINED if untrained else "none", "views": 0}
    for work in found[:1]:
        sizes = ("max_frames", "batch_frames", "crops", "crop_frames")
        chosen |= {name: work.fingerprint[name] for name in sizes if name in work.fingerprint}
        chosen["ngpu"] = 1 if work.fingerprint.get("device") == "gpu" else None
    augment: dict[str, Any] = {}
    for work in of_views[:1]:
        names = ("views", "view_frames", "view_share", "view_utterances", "seed")
        chosen |= {name: work.fingerprint[name] for name in names}
        augment = work.report().get("augment", {})  # earlier versions did not keep it
    return [*option_words(chosen), *option_words(augment, ViewConfig)]


def option_words(settings: Mapping[str, Any], cls: type | None = None) -> list[str]:
    """Return settings as the options of a program of steps/: `--gate`, `--noise-snr 0.0 15.0`; None is left out.

    Args:
        cls: the dataclass that declares them, where there may be lists among them.
    """
    words: list[str] = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, (list, tuple)):
            one_word = cls is not None and word_count(cls, key) == 1  # of a list of any length
            words += [f"--{name}", *([",".join(map(str, value))] if one_word else map(str, value))]
        elif value is not None:
            words += [f"--{name}", str(value)]
    return words
