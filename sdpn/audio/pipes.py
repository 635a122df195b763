"""Commands in the place of audio files (`utterance command |` in Kaldi's wav.scp): run only where the user says so.

A command may do anything, and a data folder may come from a stranger. So every program that may meet one has
`--allow-pipes`, and nothing that stands in a manifest says it in the user's place.
"""

import os
import subprocess

from sdpn.errors import OutsideError, SdpnError

_VARIABLE = "SDPN_ALLOW_PIPES"  # in the environment, so that worker processes know it


def allow() -> None:
    """Let this process, and those that it starts from now on, run commands."""
    os.environ[_VARIABLE] = "1"


def refuse_unless_allowed(command: str) -> None:
    """Make sure that commands may be run.

    Raises:
        SdpnError: the user has not said so.
    """
    if os.environ.get(_VARIABLE) != "1":
        raise SdpnError(f"the audio comes from a command, which runs with --allow-pipes alone: {command[:100]}")


def command_output(command: str) -> bytes:
    """Run a command, the audio of a line `utterance command |` of Kaldi's wav.scp; return what it writes.

    Raises:
        OutsideError: it fails; what it said stands in the sentence.
        SdpnError: commands are not allowed; see `allow`.
    """
    refuse_unless_allowed(command)
    # Kaldi's pipes are for bash, and the failure of any part of one is a failure
    run = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(run, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1][:200] if said else f"status {done.returncode}"
        raise OutsideError("the command failed", f"{command[:200]}: {reason}")
    return done.stdout
