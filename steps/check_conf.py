#!/usr/bin/env python3
"""Check every setting of a run before any work: the files in conf/, back-ends, GPUs, and what corpus DATA holds.

    steps/check_conf.py --config conf/sdpn/toy.yaml --backends cosine,plda --score-norm none,as --corpus toy data

Prints nothing where all is well; otherwise one sentence, and the status is 1.
"""

from pathlib import Path

import click

from sdpn import config
from sdpn.augment.config import AugmentConfig
from sdpn.backend.config import read_backends
from sdpn.console import run
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.training.config import TrainConfig


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--corpus", required=True, help="the corpus that DATA must hold, where it holds one")
@click.option("--corpus-dir", type=click.Path(path_type=Path), help="the folders and trials it must be made of")
@click.option("--trials", type=click.Path(path_type=Path))
@click.option("--noise-dir", type=click.Path(path_type=Path))
@click.option("--music-dir", type=click.Path(path_type=Path))
@click.option("--rir-dir", type=click.Path(path_type=Path))
@click.option("--config", "config_file", required=True, help="training settings (YAML)")
@click.option("--cuts-config", default="conf/cuts.yaml", show_default=True)
@click.option("--fbank-config", default="conf/fbank.yaml", show_default=True)
@click.option("--augment-config", default="conf/augment.yaml", show_default=True)
@click.option("--backend-config", default="conf/backend.yaml", show_default=True)
@click.option("--backends", default=None, help="back-ends to run, separated by commas")
@click.option("--score-norm", default=None, help="score normalizations to run, separated by commas")
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
    ngpu: int,
    **folders: Path | None,
) -> None:
    if (data / "corpus.json").exists():
        asked = {name: str(folder.resolve()) for name, folder in folders.items() if folder}
        Corpus.refuse_another(data, corpus, {**Corpus.read(data).options, **asked})
    config.read(config_file, TrainConfig)
    cuts = config.read(cuts_config, CutsConfig)
    fbank = config.read(fbank_config, FbankConfig)
    config.read(augment_config, AugmentConfig)
    read_backends(backend_config, {"backends": backends, "score_norm": score_norm})
    if cuts.sampling_rate != fbank.sampling_rate:
        raise SdpnError(
            f"sampling_rate is {cuts.sampling_rate} in {cuts_config} and {fbank.sampling_rate} in {fbank_config}: "
            "make them equal"
        )
    if ngpu:
        from sdpn.training.devices import choose_device

        choose_device(ngpu)


if __name__ == "__main__":
    run(main)
