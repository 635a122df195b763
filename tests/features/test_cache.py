import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest

from sdpn.cluster.pool import run_jobs
from sdpn.errors import MissingToolError, OutsideError, SdpnError
from sdpn.features import cache
from sdpn.features.cache import fill, shard_size, verify
from sdpn.features.config import FbankConfig
from sdpn.features.gpu import make_shard_on
from sdpn.features.index import FeatureIndex
from sdpn.files import RECORD_DIGEST, exclusive
from tests.features.conftest import Tone, flip_a_byte, load_tone, run_here

CONFIG = FbankConfig(shard_size=3)


def content(directory):
    """Every file but locks; of the record of the index, what does not depend on where the folder lies."""
    found = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    record = json.loads(found.pop("done/index.json"))
    del record[RECORD_DIGEST]
    record["outputs"].pop("feats.scp", None)
    return {**found, "done/index.json": json.dumps(record).encode()}


def counting(made):
    def run(function, jobs):
        for job in jobs:
            made.append(job[0].path.name)
            yield function(*job)

    return run


def test_a_second_run_makes_nothing(make_cache, capsys):
    make_cache(CONFIG)
    made = []
    before = content(make_cache(CONFIG, run=counting(made)))
    assert made == []
    assert "nothing to do, all of it is done" in capsys.readouterr().out
    assert content(make_cache(CONFIG)) == before


def test_the_number_of_jobs_changes_no_byte(make_cache, tmp_path):
    one, two = make_cache(CONFIG, "one"), make_cache(CONFIG, "two", run=partial(run_jobs, nj=3))
    assert content(one) == {name: data.replace(b"/two/", b"/one/") for name, data in content(two).items()}


def test_only_missing_and_stale_shards_are_made_again_and_the_reason_is_said(make_cache, tones, capsys):
    directory = make_cache(CONFIG)
    before = content(directory)
    (directory / "feats.0002.ark").unlink()
    made = []
    assert content(make_cache(CONFIG, run=counting(made))) == before
    assert made == ["feats.0002.ark"]
    assert "1 of 4 shards made again: feats.0002.ark is missing" in capsys.readouterr().out
    made.clear()
    make_cache(CONFIG, items=[*tones[:-1], Tone("utt99", 9000)], run=counting(made))
    assert made == ["feats.0004.ark"]
    made.clear()
    make_cache(FbankConfig(shard_size=3, low_freq=50.0), run=counting(made))
    assert len(made) == 4
    assert "3 of 4 shards made again: fbank.low_freq was 20.0, is 50.0" in capsys.readouterr().out


def test_changing_the_container_leaves_no_file_of_the_other(make_cache):
    make_cache(CONFIG)
    directory = make_cache(FbankConfig(shard_size=5, feats_type="hdf5"))
    assert sorted(path.name for path in directory.glob("feats.*")) == ["feats.0001.h5", "feats.0002.h5"]


def test_broken_items_are_left_out_counted_and_listed(make_cache, tones, capsys):
    items = [*tones, Tone("bad1", 8000), Tone("tiny", 100)]
    directory = make_cache(CONFIG, items=items)
    assert len(FeatureIndex.open(directory)) == len(tones)
    listed = (directory / "skipped_fbank.txt").read_text()
    assert listed == "bad1\tthe audio is empty\ntiny\tshorter than one frame\t100 samples where a frame has 400\n"
    assert "2 utterances left out" in capsys.readouterr().err
    make_cache(CONFIG)
    assert not (directory / "skipped_fbank.txt").exists()


def test_no_usable_item_at_all_is_refused(make_cache):
    with pytest.raises(SdpnError, match="none of the 2 utterances is usable"):
        make_cache(CONFIG, items=[Tone("bad1", 8000), Tone("bad2", 8000)])


def test_a_full_disk_is_one_sentence_and_nothing_half_written_stays(make_cache):
    directory = make_cache(CONFIG)
    expected = content(directory)
    for path in directory.glob("feats.*.ark"):
        path.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(SdpnError, match=r"cannot write .*feats.0001.ark: the file size limit"):
            make_cache(CONFIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(directory.glob("*.ark")) and not list(directory.glob(".feats*"))
    assert content(make_cache(CONFIG)) == expected


def test_damage_is_found_by_checksum_and_made_again(make_cache, capsys):
    directory = make_cache(CONFIG)
    expected = content(directory)
    assert verify(directory) == 0
    flip_a_byte(directory / "feats.0002.ark", at=-5)
    assert verify(directory) == 1
    assert "feats.0002.ark is damaged (the features of utt05" in capsys.readouterr().err
    made = []
    assert content(make_cache(CONFIG, run=counting(made))) == expected
    assert made == ["feats.0002.ark"]


def test_another_decoder_makes_the_cache_stale_and_is_named(make_cache, monkeypatch, capsys):
    make_cache(CONFIG)
    monkeypatch.setattr("soundfile.__libsndfile_version__", "another")
    make_cache(CONFIG)
    assert "4 of 4 shards made again: libsndfile's version was " in capsys.readouterr().out


def test_two_runs_at_once_the_second_says_so(make_cache):
    with exclusive(make_cache(CONFIG)), pytest.raises(SdpnError, match="another run is writing into"):
        make_cache(CONFIG)


def test_a_large_set_has_at_most_500_files():
    assert [shard_size(FbankConfig(), count) for count in (1, 99_999, 1_100_000)] == [200, 200, 2200]
    assert shard_size(FbankConfig(shard_size=7), 1_100_000) == 7


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.full(8000, np.nan), "samples are NaN or infinite"),
        (np.r_[np.ones(7999), np.inf], "samples are NaN or infinite"),
        (np.zeros(8000), "it is silent\tall its samples are equal"),
        (np.full(8000, 0.5), "it is silent\tall its samples are equal"),
        (1e-22 * np.sin(np.arange(8000)), "it is silent\tno band rises above the floor of the fbank"),
        (1e-10 * np.sin(np.arange(8000)), "it is silent\tno band rises above the floor of the fbank"),
        (1e20 * np.sin(np.arange(8000)), "samples are far beyond full scale\tthey reach 1e+20 where it is 1"),
        (np.ones(4000), "of another length\t4000 samples where the manifest says 8000"),
    ],
)
def test_samples_that_cannot_be_used_are_left_out_with_the_reason(tmp_path, samples, reason):
    tones = [Tone("broken", 8000), Tone("good", 8000)]
    load = {"broken": samples.astype(np.float32), "good": load_tone(tones[1])}
    fill(tmp_path, tones, lambda tone: load[tone.id], CONFIG, {}, run_here)
    assert FeatureIndex.open(tmp_path).ids == ["good"]
    assert (tmp_path / "skipped_fbank.txt").read_text() == f"broken\t{reason}\n"


def test_clipped_audio_is_kept_and_listed(tmp_path, capsys):
    tones = [Tone("a", 8000), Tone("b", 8000)]
    fill(tmp_path, tones, lambda tone: load_tone(tone).clip(-0.3, 0.3) / 0.3 ** (tone.id == "a"), CONFIG, {}, run_here)
    assert len(FeatureIndex.open(tmp_path)) == 2
    listed = (tmp_path / "notes_fbank.txt").read_text()
    assert listed.startswith("a\tclipped\t") and listed.count("\n") == 1
    assert "1 utterance kept but to be looked at" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{}, {"cmvn": "mean-variance"}, {"cmvn": "sliding"}, {"vad": "energy"}])
@pytest.mark.parametrize("feats_type", ["ark", "hdf5"])
def test_a_long_utterance_goes_through_a_file_and_comes_out_the_same(make_cache, monkeypatch, settings, feats_type):
    config = FbankConfig(feats_type=feats_type, **settings)
    whole = FeatureIndex.open(make_cache(config, "whole"))
    monkeypatch.setattr("sdpn.features.frontend._FRAMES_IN_MEMORY", 30)
    monkeypatch.setattr("sdpn.features.frontend._FRAMES_AT_ONCE", 7)
    pieces = FeatureIndex.open(make_cache(config, "pieces"))
    for row in range(len(whole)):
        np.testing.assert_allclose(pieces.read(row), whole.read(row), atol=1e-3)
    assert not list(pieces.directory.glob("tmp*"))


@pytest.mark.parametrize("vad", ["none", "energy"])
def test_a_gpus_path_makes_the_same_cache(make_cache, tones, vad):
    config = FbankConfig(shard_size=4, compress="none", vad=vad)
    items = [*tones, Tone("bad1", 8000), Tone("tiny", 100)]
    expected = FeatureIndex.open(make_cache(config, "cpu", items=items))
    on_torch = partial(make_shard_on, device="cpu", threads=2)
    fill(expected.directory.parent / "torch", items, load_tone, config, {}, run_here, on_torch)
    computed = FeatureIndex.open(expected.directory.parent / "torch")
    assert computed.ids == expected.ids
    for row in range(len(expected)):
        assert np.abs(computed.read(row) - expected.read(row)).max() < 3e-3  # a tone leaves bands nearly empty
    listed = [(directory / "skipped_fbank.txt").read_text() for directory in (computed.directory, expected.directory)]
    assert listed[0] == listed[1]


def test_killed_in_the_middle_and_run_again_gives_the_same_bytes(make_cache, tmp_path, tones):
    expected = content(make_cache(CONFIG, "entire"))
    script = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from sdpn.features.cache import fill
        from sdpn.features.config import FbankConfig
        from tests.features.conftest import Tone, load_tone, run_here
        tones = [Tone(f"utt{{i:02d}}", 8000 + 1600 * (i % 4)) for i in range(10)]
        def load(tone):
            if tone.id == "utt07":
                os.kill(os.getpid(), signal.SIGKILL)
            return load_tone(tone)
        fill(Path({str(tmp_path / "killed")!r}), tones, load, FbankConfig(shard_size=3), {{}}, run_here)
        """
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=os.getcwd())
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "feats.0002.ark").exists()
    assert not (tmp_path / "killed" / "feats.0003.ark").exists()
    made = []
    fill(tmp_path / "killed", tones, load_tone, CONFIG, {}, counting(made))
    assert made == ["feats.0003.ark", "feats.0004.ark"]
    again = {name: data.replace(b"/killed/", b"/entire/") for name, data in content(tmp_path / "killed").items()}
    assert again == expected


def test_a_full_disk_is_one_sentence_for_hdf5_too(make_cache):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(SdpnError, match=r"cannot write .*feats.0001.h5: the file size limit"):
            make_cache(FbankConfig(feats_type="hdf5"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_while_shards_are_made_again_the_old_index_is_not_there(make_cache, tmp_path):
    make_cache(CONFIG)

    def die(function, jobs):
        function(*jobs[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_cache(FbankConfig(shard_size=3, compress="8bit"), run=die)
    with pytest.raises(SdpnError, match="run stage 2 first"):
        FeatureIndex.open(tmp_path / "cache")


def test_an_unwritable_folder_is_a_sentence(tmp_path, tones, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(SdpnError, match="permission denied"):
        fill(tmp_path / "forbidden", tones, load_tone, CONFIG, {}, run_here)


def test_what_failed_outside_of_the_recordings_is_tried_again(make_cache, tmp_path, tones):
    made, away = [], {"utt04"}

    def load(tone):
        if tone.id in away:
            raise OutsideError("the command failed")
        return load_tone(tone)

    for missing in (1, 1, 0):
        fill(tmp_path / "cache", tones, load, CONFIG, {}, counting(made))
        assert len(FeatureIndex.open(tmp_path / "cache")) == 10 - missing
        if made[4:]:
            away.clear()
    assert made == [f"feats.000{number}.ark" for number in (1, 2, 3, 4, 2, 2)]
    fill(tmp_path / "cache", tones, load, CONFIG, {}, counting(made))
    assert len(made) == 6


def test_where_a_tool_is_missing_nothing_is_made_without_it(tmp_path, tones):
    def load(tone):
        if tone.id == "utt04":
            raise MissingToolError("ffmpeg is not installed")
        return load_tone(tone)

    made = []
    with pytest.raises(SdpnError, match="ffmpeg is not installed"):
        fill(tmp_path / "cache", tones, load, CONFIG, {}, counting(made))
    fill(tmp_path / "cache", tones, load_tone, CONFIG, {}, counting(made))
    assert made[-3:] == [f"feats.000{number}.ark" for number in (2, 3, 4)]


def test_versions_of_what_samples_go_through_count_where_they_do(tmp_path, tones, monkeypatch):
    def stale(path, is_resampled):
        monkeypatch.setattr(Tone, "sources", lambda tone: [path])
        monkeypatch.setattr(Tone, "is_resampled", is_resampled)
        reasons = []
        for version in ("1", "2"):
            monkeypatch.setattr(cache.ffmpeg, "version", lambda version=version: version)
            monkeypatch.setattr(cache, "version", lambda package, version=version: version)
            (shard,) = cache._plan(tmp_path, tones, load_tone, FbankConfig(), {})
            reasons.append(shard.work.stale_reason())
            shard.work.finish([])
        return reasons[1]

    assert stale("a.flac", False) is None
    assert stale("a.m4a", False) == "ffmpeg's version was 1, is 2"
    assert stale("a.flac", True) == "soxr's version was 1, is 2"
