import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, validate

from sdpn.corpus.layout import Corpus
from sdpn.corpus.manifests import write_set
from sdpn.errors import Reason, SdpnError
from sdpn.files import write_jsonl_gz
from sdpn.skipped import Skipped, write_skipped
from sdpn.utterance import Utterance
from tests.corpus.conftest import content, rows, times, write_audio
from tests.recipe.voices import voice


def entry(folder, id: str, seconds: float = 1.2, rate: int = 16000, channels: int = 1, **labels) -> Utterance:
    path = write_audio(folder / "audio" / f"{id}.wav", seconds, rate, channels)
    return Utterance(id, str(path), rate, int(seconds * rate), channels, **labels)


@pytest.fixture
def data(tmp_path):
    """A data folder as stage 0 leaves it; nothing in train's ids, names and paths tells of its labels."""
    ann = {"speaker": "Ann", "session": "Ann-Monday", "gender": "f"}
    write_set(tmp_path / "train", [entry(tmp_path, f"t{n}", 1 + n / 2, **ann) for n in range(3)])
    bob = {"speaker": "Bob", "session": "Bob-Monday", "gender": "m"}
    write_set(tmp_path / "eval", [entry(tmp_path, f"e{n}", **bob) for n in range(2)])
    write_set(tmp_path / "noise", [entry(tmp_path, "n0")], speech=False)
    Corpus("test", "train", ["eval"], {"eval": "eval"}, {"noise": "noise"}).write(tmp_path)
    return tmp_path


def cuts(data, name: str) -> list[dict]:
    with gzip.open(data / name / "cuts.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def test_every_set_gets_one_cut_an_utterance_sorted_by_id(data, make_cuts):
    make_cuts(data)
    found = {name: CutSet.from_jsonl_lazy(data / name / "cuts.jsonl.gz") for name in ("train", "eval", "noise")}
    assert {name: [cut.id for cut in own] for name, own in found.items()} == {
        "train": ["t0", "t1", "t2"],
        "eval": ["e0", "e1"],
        "noise": ["n0"],
    }
    for own in found.values():
        for cut in own:
            assert cut.load_audio().shape == (1, cut.num_samples)


def test_training_cuts_hold_no_label_anywhere(data, make_cuts):
    make_cuts(data)
    text = gzip.decompress((data / "train" / "cuts.jsonl.gz").read_bytes()).decode()
    for label in ("Ann", "Monday", "speaker", "gender", "session", '"f"', "custom"):
        assert label not in text.replace(str(data), "")
    assert (data / "train" / "utt2spk.oracle").read_text() == "t0 Ann\nt1 Ann\nt2 Ann\n"


def test_evaluation_cuts_keep_their_labels(data, make_cuts):
    make_cuts(data)
    (supervision,) = cuts(data, "eval")[0]["supervisions"]
    assert (supervision["speaker"], supervision["gender"]) == ("Bob", "m")
    assert supervision["custom"] == {"session": "Bob-Monday"}
    assert (data / "eval" / "utt2spk").read_text() == "e0 Bob\ne1 Bob\n"


def test_training_utterances_are_filtered_by_duration_and_others_are_not(data, make_cuts, capsys):
    make_cuts("--min-duration", 1.4, "--max-skipped", 0.5, data)
    assert [cut["id"] for cut in cuts(data, "train")] == ["t1", "t2"]
    assert (data / "train" / "skipped.tsv").read_text() == "t0\tshorter than 1.4 s\n"
    assert (data / "train" / "utt2spk.oracle").read_text() == "t1 Ann\nt2 Ann\n"
    assert len(cuts(data, "eval")) == 2
    assert "train: 1 skipped, shorter than 1.4 s" in capsys.readouterr().out


def test_evaluation_utterances_without_one_frame_are_left_out_with_a_warning(data, make_cuts, capsys):
    bob = {"speaker": "Bob", "session": "Bob-Monday"}
    write_set(data / "eval", [entry(data, "e0", **bob), entry(data, "click", seconds=0.02, **bob)])
    make_cuts("--max-skipped", 0.5, data)
    assert [cut["id"] for cut in cuts(data, "eval")] == ["e0"]
    assert "warning: eval: 1 skipped, shorter than one frame" in capsys.readouterr().err


def test_other_rates_and_channels_are_converted_and_counted_once(data, make_cuts, capsys):
    eve = {"speaker": "Eve"}
    write_set(
        data / "eval",
        [entry(data, "k8", 1, 8000, **eve), entry(data, "st", 1, 16000, 2, **eve), entry(data, "ok", 1, **eve)],
    )
    make_cuts(data)
    for cut in CutSet.from_jsonl_lazy(data / "eval" / "cuts.jsonl.gz"):
        assert cut.load_audio().shape == (1, 16000)
        assert cut.sampling_rate == 16000
    printed = capsys.readouterr().out
    assert printed.count("eval: 1 recording of 8000 Hz is resampled") == 1
    assert printed.count("eval: 1 recording has several channels") == 1


def test_the_channel_is_that_of_the_configuration(data, make_cuts):
    stereo = entry(data, "st", 1, 16000, 2, speaker="Eve")
    write_set(data / "eval", [stereo, entry(data, "mono", 1, speaker="Eve")])
    make_cuts("--channel", 1, data)
    mono_cut, stereo_cut = CutSet.from_jsonl_lazy(data / "eval" / "cuts.jsonl.gz")
    assert (mono_cut.channel, stereo_cut.channel) == (0, 1)
    both = stereo_cut.recording.load_audio()
    assert (stereo_cut.load_audio()[0] == both[1]).all()


def test_a_speaker_in_train_and_eval_is_an_error_before_any_cut(data, make_cuts):
    write_set(data / "eval", [entry(data, "e0", speaker="Ann")])
    with pytest.raises(SdpnError, match="1 speaker is both in train and in eval: Ann"):
        make_cuts(data)
    assert not (data / "train" / "cuts.jsonl.gz").exists()


def test_a_corpus_without_labels_has_no_oracle(data, make_cuts):
    write_set(data / "train", [entry(data, "t0")])
    make_cuts(data)
    assert not (data / "train" / "utt2spk.oracle").exists()
    assert len(cuts(data, "train")) == 1


def test_a_set_with_nothing_usable_is_a_sentence_and_leaves_no_cuts(data, make_cuts):
    with pytest.raises(SdpnError, match="none of its utterances can be used: 3 shorter than 9 s"):
        make_cuts("--min-duration", 9, data)
    assert not (data / "train" / "cuts.jsonl.gz").exists()


def test_manifests_that_do_not_fit_together_are_a_sentence(data, make_cuts):
    write_jsonl_gz(data / "eval" / "recordings.jsonl.gz", [])
    with pytest.raises(SdpnError, match="e0 names the recording e0, which is missing"):
        make_cuts(data)


def test_a_folder_without_a_corpus_says_which_stage_makes_it(tmp_path, make_cuts):
    with pytest.raises(SdpnError, match="run stage 0 first"):
        make_cuts(tmp_path)


def test_a_rerun_does_no_work(data, make_cuts, capsys):
    make_cuts(data)
    before = times(data)
    capsys.readouterr()
    make_cuts(data)
    assert times(data) == before
    assert "train: 3 cuts are there: nothing to do" in capsys.readouterr().out


def test_only_what_changed_is_made_again_with_the_reason(data, make_cuts, capsys):
    make_cuts(data)
    before = times(data)
    capsys.readouterr()
    make_cuts("--min-duration", 0.5, data)
    changed = {path for path, time in times(data).items() if before.get(path) != time and path.endswith(".gz")}
    assert changed == {str(data / "train" / "cuts.jsonl.gz")}
    assert f"{data}/train: cuts: cuts.min_duration was 1.0, is 0.5: redone" in capsys.readouterr().out


def test_any_number_of_processes_gives_the_same_bytes(data, make_cuts):
    make_cuts("--nj", 1, data)
    first = content(data)
    for path in data.rglob("done/cuts.json"):
        path.unlink()
    make_cuts("--nj", 3, data)
    assert content(data) == first


def test_cuts_are_what_lhotse_would_write(data, make_cuts):
    eve = {"speaker": "Eve", "gender": "f", "session": "Eve-1"}
    write_set(data / "eval", [entry(data, "k8", 1, 8000, **eve), entry(data, "st", 1, 16000, 2, **eve)])
    make_cuts(data)
    for name in ("train", "eval", "noise"):
        for row, cut in zip(cuts(data, name), CutSet.from_jsonl_lazy(data / name / "cuts.jsonl.gz"), strict=True):
            validate(cut)
            assert cut.to_dict() == row


def test_long_training_utterances_and_clips_become_windows_of_equal_length(data, make_cuts, capsys):
    write_set(data / "train", [entry(data, "t0", 2.5, speaker="Ann"), entry(data, "t1", 1.2, speaker="Ann")])
    write_set(data / "noise", [entry(data, "n0", 1.9, 8000)], speech=False)
    write_set(data / "eval", [entry(data, "e0", 3, speaker="Bob")])
    make_cuts("--min-duration", 0.6, "--max-duration", 1.2, data)
    train = {cut["id"]: (cut["start"], cut["duration"]) for cut in cuts(data, "train")}
    assert list(train) == ["t0-w1", "t0-w2", "t0-w3", "t1"]
    assert [round(duration * 16000) for _, duration in train.values()] == [13333, 13334, 13333, 19200]
    assert [cut["id"] for cut in cuts(data, "noise")] == ["n0-w1", "n0-w2"]
    assert [cut["id"] for cut in cuts(data, "eval")] == ["e0"]
    assert (data / "train" / "utt2spk.oracle").read_text() == "t0-w1 Ann\nt0-w2 Ann\nt0-w3 Ann\nt1 Ann\n"
    assert "train: 1 long ones became several cuts" in capsys.readouterr().out
    for name in ("train", "noise"):
        own = list(CutSet.from_jsonl_lazy(data / name / "cuts.jsonl.gz"))
        whole = own[0].recording.load_audio()
        parts = [cut.load_audio() for cut in own if "-w" in cut.id]
        assert [part.shape[1] for part in parts] == [cut.num_samples for cut in own if "-w" in cut.id]
        np.testing.assert_allclose(np.concatenate(parts, axis=1)[:, 800:4000], whole[:, 800:4000], atol=1e-4)


def test_every_channel_of_a_room_is_a_cut(data, make_cuts, capsys):
    write_set(data / "rir", [entry(data, "hall", 0.02, 16000, 3), entry(data, "box", 0.3)], speech=False)
    Corpus("test", "train", ["eval"], {"eval": "eval"}, {"noise": "noise"}, "rir").write(data)
    make_cuts(data)
    own = {cut["id"]: cut["channel"] for cut in cuts(data, "rir")}
    assert own == {"box": 0, "hall-c1": 0, "hall-c2": 1, "hall-c3": 2}
    hall = CutSet.from_jsonl_lazy(data / "rir" / "cuts.jsonl.gz")
    channels = [cut.load_audio()[0] for cut in hall if cut.id != "box"]
    assert not np.allclose(channels[0], channels[1])
    assert "rir: 1 recording has several channels: each channel is a room" in capsys.readouterr().out


def test_more_skipped_than_allowed_is_an_error_and_keeps_what_was_there(data, make_cuts):
    make_cuts(data)
    before, labels = ((data / "train" / name).read_bytes() for name in ("cuts.jsonl.gz", "utt2spk.oracle"))
    with pytest.raises(SdpnError) as error:
        make_cuts("--min-duration", 1.4, data)
    assert "train: 1 of 3 (33.3 %) would be skipped, more than --max-skipped 0.05 allows" in str(error.value)
    assert (data / "train" / "skipped.tsv").read_text() == "t0\tshorter than 1.4 s\n"
    assert (data / "train" / "cuts.jsonl.gz").read_bytes() == before
    assert (data / "train" / "utt2spk.oracle").read_bytes() == labels
    make_cuts("--min-duration", 1.4, "--max-skipped", 0.4, data)
    assert len(cuts(data, "train")) == 2


def test_what_stage_0_skipped_is_listed_and_counted_too(data, make_cuts):
    write_skipped(data / "train" / "skipped_files.tsv", [Skipped("/x/a b.wav", Reason("cut off", "1 s of 2 s"))])
    with pytest.raises(SdpnError, match=r"1 of 4 \(25.0 %\) would be skipped.*: 1 cut off;"):
        make_cuts(data)
    make_cuts("--max-skipped", 0.3, data)
    assert (data / "train" / "skipped.tsv").read_text() == "/x/a b.wav\tcut off\t1 s of 2 s\n"


def test_segments_may_end_half_a_second_behind_their_recordings_and_others_are_skipped(data, make_cuts):
    own = entry(data, "r0", 2.0)
    parts = [("r0-1", 0.5, 2.5), ("r0-2", 2.5, 3.0), ("r0-3", 0.0, 1.5), ("r0-4", 0.5, 2.6)]
    write_set(
        data / "train",
        [replace(own, id=id, recording="r0", start=start, duration=end - start) for id, start, end in parts],
    )
    make_cuts("--max-skipped", 0.5, data)
    assert {cut["id"]: cut["duration"] for cut in cuts(data, "train")} == {"r0-1": 1.5, "r0-3": 1.5}
    listed = [line.split("\t") for line in (data / "train" / "skipped.tsv").read_text().splitlines()]
    assert [(id, kind.split()[1]) for id, kind, _ in listed] == [("r0-2", "begins"), ("r0-4", "ends")]
    assert len(rows(data / "train" / "recordings.jsonl.gz")) == 1


def test_supervisions_in_any_order_give_sorted_cuts(data, make_cuts):
    found = rows(data / "train" / "supervisions.jsonl.gz")
    write_jsonl_gz(data / "train" / "supervisions.jsonl.gz", found[::-1])
    make_cuts(data)
    assert [cut["id"] for cut in cuts(data, "train")] == ["t0", "t1", "t2"]
    write_jsonl_gz(data / "train" / "supervisions.jsonl.gz", [found[0], found[0]])
    with pytest.raises(SdpnError, match="two utterances have the id t0"):
        make_cuts(data)


def test_silence_at_both_ends_is_trimmed_when_asked_for(data, make_cuts, capsys):
    samples = np.concatenate([np.full(16000, 1e-5), voice(1, 1, 2.0), np.full(8000, 1e-5)])
    path = data / "audio" / "quiet.wav"
    soundfile.write(path, samples, 16000)
    write_set(data / "train", [Utterance("quiet", str(path), 16000, len(samples), speaker="Ann")])
    soundfile.write(data / "audio" / "nothing.wav", np.zeros(32000), 16000)
    write_set(
        data / "eval",
        [entry(data, "e0", speaker="Bob"), Utterance("nothing", str(data / "audio" / "nothing.wav"), 16000, 32000)],
    )
    make_cuts("--trim-silence", "--nj", 2, "--max-skipped", 0.5, data)
    (cut,) = cuts(data, "train")
    assert cut["start"] == pytest.approx(0.9, abs=0.06)
    assert cut["start"] + cut["duration"] == pytest.approx(3.1, abs=0.1)
    assert (data / "eval" / "skipped.tsv").read_text() == "nothing\tno speech is heard in it\n"
    before = times(data)
    make_cuts("--trim-silence", "--max-skipped", 0.5, data)
    assert times(data) == before
    make_cuts(data)
    assert cuts(data, "train")[0]["start"] == 0
    assert len(cuts(data, "eval")) == 2


@pytest.fixture
def given(data):
    """The same data folder, where the training set brings features."""
    given_features = {"train": "feats.scp.given"}
    Corpus("test", "train", ["eval"], {"eval": "eval"}, {"noise": "noise"}, given_features=given_features).write(data)
    return data


def test_long_utterances_that_bring_features_stay_whole(given, make_cuts):
    write_set(given / "train", [entry(given, "t0", 2.5, speaker="Ann"), entry(given, "t1", 0.4, speaker="Ann")])
    write_set(given / "noise", [entry(given, "n0", 1.9)], speech=False)
    make_cuts("--min-duration", 0.6, "--max-duration", 1.2, "--max-skipped", 0.5, given)
    assert [(cut["id"], cut["duration"]) for cut in cuts(given, "train")] == [("t0", 2.5)]
    assert [cut["id"] for cut in cuts(given, "noise")] == ["n0-w1", "n0-w2"]
    Corpus("test", "train", ["eval"], {"eval": "eval"}, {"noise": "noise"}).write(given)
    make_cuts("--min-duration", 0.6, "--max-duration", 1.2, "--max-skipped", 0.5, given)
    assert [cut["id"] for cut in cuts(given, "train")] == ["t0-w1", "t0-w2", "t0-w3"]


def test_silence_is_not_trimmed_where_features_are_given(given, make_cuts):
    with pytest.raises(SdpnError, match=r"trim_silence is on, but train brings features \(feats.scp\), which keep the"):
        make_cuts("--trim-silence", given)
    assert not (given / "train" / "cuts.jsonl.gz").exists()


def test_cuts_are_sorted_where_windows_sort_behind_other_utterances(data, make_cuts):
    own = [entry(data, "a", 13.0, speaker="Ann"), entry(data, "a-1", speaker="Ann"), entry(data, "b", speaker="Ann")]
    write_set(data / "train", own)
    make_cuts("--max-duration", 1.2, "--min-duration", 0.5, data)
    ids = [cut["id"] for cut in cuts(data, "train")]
    assert ids[:2] == ["a-1", "a-w1"]
    assert len(ids) == 13
    assert ids == sorted(ids, key=str.encode)
    assert [line.split()[0] for line in (data / "train" / "utt2spk.oracle").read_text().splitlines()] == ids


def test_a_window_with_the_name_of_another_utterance_is_a_sentence(data, make_cuts):
    write_set(data / "train", [entry(data, "a", 2.4, speaker="Ann"), entry(data, "a-w1", speaker="Ann")])
    with pytest.raises(SdpnError, match=r"two cuts have the id a-w1: rename one"):
        make_cuts("--max-duration", 1.3, "--min-duration", 0.5, data)
