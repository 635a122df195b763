import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording

from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.index import open_features
from sdpn.features.sets import make_set, read_cuts
from sdpn.files import file_digest
from sdpn.shards import Work
from tests.features.conftest import run_here


@pytest.fixture
def directory(tmp_path):
    """A set as stage 1 leaves it, one of whose four recordings is damaged since."""
    recordings = []
    for number in range(4):
        path = tmp_path / f"{number}.flac"
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(16000), 16000)
        recordings.append(Recording.from_file(path))
    (tmp_path / "3.flac").write_bytes(b"damaged")
    (tmp_path / "set").mkdir()
    CutSet.from_cuts(one.to_cut() for one in recordings).to_file(tmp_path / "set" / "cuts.jsonl.gz")
    for name in ("recordings", "supervisions"):
        (tmp_path / "set" / f"{name}.jsonl.gz").write_bytes(name.encode())
    stage_1(tmp_path / "set")
    return tmp_path / "set"


def stage_1(directory):
    names = ("recordings", "supervisions")
    Work(directory, "cuts", {name: file_digest(directory / f"{name}.jsonl.gz") for name in names}).finish([])


def test_more_left_out_than_allowed_is_an_error_in_every_run_and_costs_no_work(directory):
    for _ in range(2):
        with pytest.raises(SdpnError, match=r"1 of 4 \(25.0 %\) would be skipped, more than --max-skipped 0.2 allows"):
            make_set(directory, FbankConfig(), run_here, max_skipped=0.2)
        with pytest.raises(SdpnError, match="its features are not finished: run stage 2 again"):
            open_features(directory)
    before = (directory / "feats.0001.ark").stat().st_mtime_ns
    make_set(directory, FbankConfig(), run_here, max_skipped=0.25)
    assert len(open_features(directory)) == 3
    assert (directory / "feats.0001.ark").stat().st_mtime_ns == before


def test_a_stage_that_was_killed_is_not_taken_for_finished(directory):
    make_set(directory, FbankConfig(), run_here)
    Work(directory, "cuts_feats", {}).begin()
    with pytest.raises(SdpnError, match="its features are not finished: run stage 2 again"):
        open_features(directory)
    Work(directory, "cuts", {}).begin()
    with pytest.raises(SdpnError, match=r"cuts.jsonl.gz is not finished: run stage 1 again"):
        read_cuts(directory)


def test_cuts_that_change_while_their_features_are_made_are_noticed(directory):
    def run(function, jobs):
        yield from run_here(function, jobs)
        cuts = list(CutSet.from_file(directory / "cuts.jsonl.gz"))
        CutSet.from_cuts(cuts[:2]).to_file(directory / "cuts.jsonl.gz")

    make_set(directory, FbankConfig(), run)
    with pytest.raises(SdpnError, match="has changed since its features were made: run stage 2 again"):
        open_features(directory)
