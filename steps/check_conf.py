#!/usr/bin/env python3
"""Check every setting of a run before any work: the files in conf/, back-ends, GPUs, and what corpus DATA holds.

    steps/check_conf.py --config conf/sdpn/toy.yaml --backends cosine,plda --score-norm none,as --corpus toy data

Prints nothing where all is well; otherwise one sentence, and the status is 1.
"""

from collections.abc import Callable
from pathlib import Path

import click

from sdpn import config
from sdpn.augment.config import AugmentConfig
from sdpn.backend.config import read_backends
from sdpn.console import run
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.layout import Corpus
from sdpn.corpus.options import LISTS, is_stream, kept_list
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.training.settings import read_settings

# What stage 0 of one corpus or another is given: DATA must not hold one that was made of something else
GIVEN = (
    *("corpus-dir", "voxceleb1", "voxceleb2", "voxceleb-trials", "cnceleb1", "cnceleb2", "train", "eval", "trials"),
    *("eval-share", "enroll-map", "musan", "rirs", "noise-dir", "music-dir", "rir-dir"),
)
TEXTS = ("voxceleb_trials",)
NUMBERS = ("eval_share",)


def what_the_corpus_is_of(command: Callable) -> Callable:
    for name in GIVEN:
        name = name.replace("-", "_")
        kind = float if name in NUMBERS else str
        command = click.option(f"--{name.replace('_', '-')}", f"given_{name}", type=kind, hidden=True)(command)
    return click.option("--labelled/--unlabelled", "given_labelled", default=None, hidden=True)(command)


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--corpus", required=True, help="the corpus that DATA must hold, where it holds one")
@what_the_corpus_is_of
@click.option("--config", "config_file", required=True, help="training settings (YAML)")
@click.option("--cuts-config", default="conf/cuts.yaml", show_default=True)
@click.option("--fbank-config", default="conf/fbank.yaml", show_default=True)
@click.option("--augment-config", default="conf/augment.yaml", show_default=True)
@click.option("--backend-config", default="conf/backend.yaml", show_default=True)
@click.option("--backends", default=None, help="back-ends to run, separated by commas")
@click.option("--score-norm", default=None, help="score normalizations to run, separated by commas")
@click.option("--baselines", default=None, help="rows for comparison, separated by commas; none")
@click.option("--calibration", default=None, help="clusters, none, a trial list or a file of trials")
@click.option("--min-duration", type=float, help="of training utterances, for stage 1")
@click.option("--max-skipped", type=float, help="share of a set that may be left out, for stages 0 and 1")
@click.option("--ngpu", default=0, show_default=True, type=click.IntRange(0))
def main(
    data: Path,
    corpus: str,
    config_file: str,
    cuts_config: str,
    fbank_config: str,
    augment_config: str,
    backend_config: str,
    backends: str | None,
    score_norm: str | None,
    baselines: str | None,
    calibration: str | None,
    ngpu: int,
    min_duration: float | None,
    max_skipped: float | None,
    **given: str | float | bool | None,
) -> None:
    if (data / "corpus.json").exists():
        asked = {name.removeprefix("given_"): value for name, value in given.items() if value not in (None, "")}
        streams = {name for name in LISTS if is_stream(asked.get(name, ""))}  # stage 0 is to read them, not this
        asked |= {name: str(kept_list(data, name)) for name in streams}
        asked = {
            name: value if name in TEXTS or not isinstance(value, str) else _absolute(value)
            for name, value in asked.items()
        }
        Corpus.refuse_another(data, corpus, {**Corpus.read(data).options, **asked})
    read_settings(config_file)
    cuts = config.read(cuts_config, CutsConfig, {"min_duration": min_duration, "max_skipped": max_skipped})
    fbank = config.read(fbank_config, FbankConfig)
    config.read(augment_config, AugmentConfig)
    asked_of_scores = {"backends": backends, "score_norm": score_norm, "baselines": baselines}
    read_backends(backend_config, {**asked_of_scores, "calibration": calibration})
    if cuts.sampling_rate != fbank.sampling_rate:
        raise SdpnError(
            f"sampling_rate is {cuts.sampling_rate} in {cuts_config} and {fbank.sampling_rate} in {fbank_config}: "
            "make them equal"
        )
    if ngpu:
        from sdpn.training.devices import choose_device

        choose_device(ngpu)


def _absolute(paths: str) -> str:
    """Paths separated by commas, as stage 0 keeps them."""
    return ",".join(str(Path(path.strip()).resolve()) for path in paths.split(",") if path.strip())


if __name__ == "__main__":
    run(main)
