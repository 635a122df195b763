"""Turn the words that run.sh was given into the shell lines that it evaluates; run.sh calls this.

    python -m sdpn.recipe FOLDER [--option value ...]

FOLDER is where the user typed the command. The program runs in the folder of run.sh, with Python's standard library
alone. A mistake is one sentence on standard error and the status 1.
"""

import shlex
import sys
from pathlib import Path

from sdpn.errors import SdpnError
from sdpn.recipe.calls import shell
from sdpn.recipe.check import check
from sdpn.recipe.command_line import read
from sdpn.recipe.usage import stages_of, usage


def main() -> None:
    """Print the lines, or the help as a line that prints it."""
    here, *words = sys.argv[1:]
    stages = stages_of(Path("run.sh"))
    try:
        given = read(words)
        if given is None:
            print(f"printf '%s\\n' {shlex.quote(usage(stages))}\nexit 0")
        else:
            print(shell(check(given, Path(here), max(stages))))
    except SdpnError as error:
        print(f"run.sh: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
