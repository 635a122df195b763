"""`sdpn show`: what the network sees of an utterance, as a picture."""

from pathlib import Path

import click

from sdpn.recipe.program import pipes_option

_CONFIG = "conf/augment.yaml"


@click.command()
@click.argument("utterance", required=False)
@click.option(
    "--data", type=click.Path(path_type=Path), default="data", show_default=True, help="data folder of the recipe"
)
@click.option("--set", "set_name", help="the set it is in  [default: the first that has it]")
@click.option(
    "-o", "--out", "--output", "out", type=click.Path(path_type=Path), help="the picture  [default: UTTERANCE.png]"
)
@click.option(
    "--model", type=click.Path(path_type=Path), help="an experiment (exp/NAME): views as its training saw them"
)
@click.option("--augment-config", help=f"how views are augmented (YAML)  [default: {_CONFIG} where it is there]")
@click.option("--frames", default=200, show_default=True, type=click.IntRange(10), help="length of a view")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="seed of the views")
@pipes_option
@click.option("--epoch", default=0, show_default=True, type=click.IntRange(0), help="whose views, counted from 0")
def show(
    utterance: str | None,
    data: Path,
    set_name: str | None,
    out: Path | None,
    model: Path | None,
    augment_config: str | None,
    frames: int,
    seed: int,
    epoch: int,
) -> None:
    """Draw UTTERANCE: its waveform, its cached fbank, and three augmented views as training sees them.

    \b
        sdpn show                             # lists the utterances of each set, the first of them
        sdpn show --set eval                  # all of a set
        sdpn show spk01-s1-u03 --data data -o picture.png

    Stages 0 to 2 must have been run. The views need stage 3; without it they are crops with masks.
    """
    from sdpn import config
    from sdpn.augment.config import AugmentConfig
    from sdpn.errors import SdpnError

    if utterance is None:
        from sdpn.augment.picture import list_utterances

        click.echo("\n".join(list_utterances(data, set_name)))
        return
    if model is not None and augment_config is not None:
        raise click.UsageError("give either --model or --augment-config")
    if augment_config is None and Path(_CONFIG).exists():
        augment_config = _CONFIG
    if model is None:
        settings = config.read(augment_config, AugmentConfig)
    else:
        from sdpn.training.state import augmentation_of

        settings = config.read(None, AugmentConfig, augmentation_of(model))
    path = out or Path(f"{utterance.replace('/', '_')}.png")
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise SdpnError(f"--out is {path}; expected a name that ends in .png, .svg or .pdf")
    from sdpn.augment.picture import draw

    click.echo(draw(data, utterance, set_name, path, settings, seed=seed, epoch=epoch, student_frames=frames))
