"""The vectors of the system xvector+fbank-stats: x-vectors with the statistics of the fbank beside them."""

from pathlib import Path

import numpy as np

from sdpn.console import counted, say
from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors, read_xvectors, write_xvectors
from sdpn.files import exclusive
from sdpn.shards import Work


def join_sets(xvectors: Path, statistics: Path, directory: Path, form: str) -> bool:
    """Write the vectors of one set side by side into `directory`; return whether anything was written.

    Args:
        xvectors, statistics: the folders of both, as `extract_set` has made them.
        form: see `write_xvectors`.

    Raises:
        SdpnError: one of the two is unfinished, or they are of different utterances.
    """
    one, other = (Work.finished(folder, "xvectors") for folder in (xvectors, statistics))
    if one is None or other is None:
        raise SdpnError(f"{xvectors} or {statistics} is unfinished: run stage 5 again")
    inputs = {"x-vectors": one, "statistics": other, "model": one.fingerprint["model"], "form": form}
    with exclusive(directory):
        work = Work(directory, "xvectors", inputs)
        if work.stale_reason() is None:
            return False
        first, second = read_xvectors(xvectors), read_xvectors(statistics)
        if first.ids != second.ids:
            raise SdpnError(f"{xvectors} and {statistics} are of different utterances: run stage 5 again")
        work.begin()
        both = XVectors(first.ids, np.hstack((first.vectors, second.vectors)), first.num_frames)
        work.finish(write_xvectors(directory, both, form), first=first.vectors.shape[1])
        say(f"  {directory}: {counted(len(both.ids), 'x-vector')} with the statistics of the fbank beside them")
    return True
