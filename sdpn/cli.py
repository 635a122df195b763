"""The command `sdpn`: a verb for each job that needs no recipe. `sdpn --help` lists the verbs, `sdpn VERB --help` each.

A verb is a click command in `sdpn/commands/`, loaded when it is called for, so that `sdpn --help` loads nothing heavy.
"""

import click

import sdpn
from sdpn.commands.groups import LazyGroup

VERBS: dict[str, tuple[str, str]] = {
    "verify": ("sdpn.commands.verify:verify", "Say whether two recordings are one speaker's."),
    "enroll": ("sdpn.commands.enroll:enroll", "Enroll a speaker by name."),
    "identify": ("sdpn.commands.enroll:identify", "Say who of the enrolled speakers is heard."),
    "embed": ("sdpn.commands.embed:embed", "Make x-vectors: a voice in numbers, for each recording."),
    "show": ("sdpn.commands.show:show", "Draw an utterance: waveform, fbank, and views as training sees them."),
    "info": ("sdpn.commands.info:info", "Say how far a training is and how it goes, also while it runs."),
    "jobs": ("sdpn.commands.jobs:jobs", "Say what has become of the jobs of --cmd slurm."),
    "score": ("sdpn.commands.score:score", "Score trials over anybody's x-vectors, with any back-end."),
    "compare": ("sdpn.commands.compare:compare", "Put the results of several experiments on one page."),
    "import": ("sdpn.commands.import_model:import_model", "Make a model folder of another toolkit's checkpoint."),
    "export": ("sdpn.commands.export:export", "Write what the recipe made in the forms that other tools read."),
}
"""Verb -> where its click command stands ("module:attribute"), and its one line of help."""


@click.group(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sdpn.__version__, prog_name="sdpn")
def cli() -> None:
    """Speaker verification learned without speaker labels."""


def main() -> None:
    """The console script."""
    from sdpn.console import run

    run(cli, resumes=False)
