"""`sdpn export`: what the recipe made, in the forms that other tools read."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from sdpn.commands.groups import Group
from sdpn.commands.options import PATH, one_model, statistics_option
from sdpn.console import counted

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Group)
def export() -> None:
    """Write data and models in the forms that other tools read."""


@export.command("kaldi-dir", short_help="Write a set as a Kaldi data directory.")
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
    say(f"{out}: {counted(done.utterances, 'utterance')} of {counted(done.speakers, 'speaker')}")
    if done.left_out:
        warn(f"{counted(done.left_out, 'utterance has', 'utterances have')} no features: left out, as Kaldi asks for")


@export.command("onnx", short_help="Write a model as ONNX.")
@click.argument("exp", metavar="EXP|MODEL", type=PATH, required=False)
@click.option("--model", type=PATH, help="the same as EXP|MODEL")
@statistics_option
@click.option("--backend", help="the back-end to put into it, with its calibration  [default: cosine]")
@click.option("--out", type=FILE, metavar="FILE", help="[default: encoder.onnx in the model folder]")
def onnx(exp: Path | None, model: Path | None, statistics: bool, backend: str | None, out: Path | None) -> None:
    """Write a model as ONNX, for batches of any size and length.

    \b
        sdpn export onnx exp/toy

    Inputs are features (batch, frames, bins), log-mel float32, and lengths (batch,), int64, the frames of each
    utterance; the output is embedding (batch, dimensions). The file's metadata carries all else that `sdpn verify`,
    `embed`, `enroll` and `identify` need with --model FILE, without torch: features, sampling rate, windows, back-end
    and calibration. ONNX Runtime's embeddings are compared with the model's own before the file is written.
    """
    from sdpn.models.export import export_onnx
    from sdpn.recognizer import Recognizer

    path = one_model(exp, model)
    carried = None
    if backend is not None or not statistics:
        recognizer = Recognizer(path, backend)
        statistics, carried = recognizer.embedder.statistics, recognizer.exportable()
    write = partial(export_onnx, statistics=statistics, backend=carried)
    _export(path, out, "encoder.onnx", write, "ONNX Runtime's")


@export.command("torch", short_help="Write a model as a graph for torch alone.")
@click.argument("exp", metavar="EXP|MODEL", type=PATH, required=False)
@click.option("--model", type=PATH, help="the same as EXP|MODEL")
@statistics_option
@click.option("--out", type=FILE, metavar="FILE", help="[default: encoder.pt2 in the model folder]")
def torch(exp: Path | None, model: Path | None, statistics: bool, out: Path | None) -> None:
    """Write a model as a graph that torch loads without this package, for batches of any size and length.

    \b
        sdpn export torch exp/toy

    In Python, torch.export.load(FILE).module() is then a function of features and lengths, as of `sdpn export onnx`;
    a batch has 9 frames at least, padding included. Sampling rate and features stand in its extra file sdpn.json.
    """
    from sdpn.models.export import export_torch

    _export(one_model(exp, model), out, "encoder.pt2", partial(export_torch, statistics=statistics), "its")


def _export(model: Path, out: Path | None, name: str, write: Callable[[Path, Path], float], whose: str) -> None:
    """Have `write` export a model to `out`, or to `name` in its folder, and say how well it agrees."""
    from sdpn.console import say
    from sdpn.models.folder import find_model

    directory = find_model(model)
    out = out or directory / name
    difference = write(directory, out)
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {whose} embeddings differ by {difference:.0e} at most")
