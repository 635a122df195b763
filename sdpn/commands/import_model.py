"""`sdpn import`: checkpoints of other toolkits, as model folders."""

from pathlib import Path

import click

from sdpn.commands.groups import Group

PATH = click.Path(path_type=Path)


@click.group("import", cls=Group)
def import_model() -> None:
    """Make a model folder of another toolkit's checkpoint."""


@import_model.command("3dspeaker", short_help="Convert a checkpoint of 3D-Speaker (SDPN, RDINO).")
@click.argument("checkpoint", metavar="CKPT", type=PATH)
@click.option("--out", type=PATH, metavar="DIR", help="the model folder  [default: exp/NAME/model, NAME that of CKPT]")
def three_d_speaker(checkpoint: Path, out: Path | None) -> None:
    """Convert 3D-Speaker's SDPN or RDINO checkpoint: the teacher's ECAPA-TDNN, or a bare state_dict of it.

    \b
        sdpn import 3dspeaker sdpn.pth

    Nothing in the checkpoint is executed. The features it wants are those of conf/fbank_3dspeaker.yaml.
    """
    from sdpn.console import say, warn
    from sdpn.models.three_d_speaker import import_checkpoint

    done = import_checkpoint(checkpoint, out or Path("exp") / checkpoint.stem / "model")
    network = done.network
    say(
        f"{done.directory}: ECAPA-TDNN, {network['channels']} channels, {network['num_bins']} mel bins, "
        f"{network['embedding_size']}-dimensional embeddings, {done.parameters / 1e6:.2f} million parameters "
        f"({done.left_out} tensors of the projection head and prototypes left out)"
    )
    if not done.teacher:
        warn(
            f"{checkpoint} has no teacher and is taken for a network of SDPN or RDINO: 3D-Speaker's supervised "
            "ECAPA-TDNN and SpeechBrain's have the same names, but want other features"
        )
