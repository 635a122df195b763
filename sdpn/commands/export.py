"""`sdpn export`: what the recipe made, in the forms that other tools read."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)


@click.group()
def export() -> None:
    """Write data in the forms that other tools read."""


@export.command("kaldi-dir")
@click.argument("set_dir", metavar="DATA/SET", type=PATH)
@click.argument("out", type=PATH)
@click.option("--oracle", is_flag=True, help="training set: with the speaker labels that stage 1 kept aside")
def kaldi_dir(set_dir: Path, out: Path, oracle: bool) -> None:
    """Write a set as a Kaldi data directory (wav.scp, segments, utt2spk, spk2utt, ...), sorted as Kaldi asks for.

    \b
        sdpn export kaldi-dir data/eval kaldi/data/eval

    What is not a mono 16-bit WAV becomes a command that runs ffmpeg. Where there are no labels, every utterance is a
    speaker of its own.
    """
    from sdpn.console import say, warn
    from sdpn.corpus.kaldi_export import export_kaldi_dir

    done = export_kaldi_dir(set_dir, out, oracle)
    say(f"{out}: {done.utterances} utterances of {done.speakers} speakers")
    if done.left_out:
        warn(f"{done.left_out} utterances have no features and are left out, as Kaldi asks for")
