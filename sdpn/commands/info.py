"""`sdpn info`: the state of a training, or what a model is."""

from pathlib import Path

import click

from sdpn.commands.options import PATH, one_model


@click.command()
@click.argument("exp", type=PATH, required=False)
@click.option("--model", type=PATH, help="the same as EXP")
def info(exp: Path | None, model: Path | None) -> None:
    """Say in plain words how far the training in EXP is and whether it is healthy, also while it runs.

    \b
    sdpn info exp/toy

    Of a model folder it says what network and features it has.
    """
    exp = one_model(exp, model)
    if (exp / "config.yaml").exists() and (exp / "weights.pt").exists():
        from sdpn.models.folder import describe_model

        lines = describe_model(exp)
    else:
        from sdpn.finetune.state import describe

        lines = describe(exp)
    for line in lines:
        click.echo(line)
