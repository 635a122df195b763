"""Kaldi data directories in."""

import os
import shutil

import kaldi_native_io
import numpy as np
import pytest
import soundfile
import soxr

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.audio import load_samples
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from sdpn.features.sets import make_set, read_cuts
from sdpn.trials.lists import read_enroll_map, read_trials
from tests.corpus.conftest import ROOT, program, rows, write_voice

SPEAKERS = ("ann", "bob", "cyd")


@pytest.fixture
def kaldi(tmp_path):
    """train (whole files) and test (segments of one recording a speaker), with paths relative to the folder above."""
    root = tmp_path / "egs"
    for name, people in (("train", SPEAKERS), ("test", ("eve", "fay"))):
        lines = {"wav.scp": [], "utt2spk": [], "segments": []}
        for number, speaker in enumerate(people):
            for take in range(2):
                path = write_voice(root / "audio" / name / f"{speaker}{take}.wav", number + 10 * len(name), take, 3.0)
                lines["wav.scp"].append(f"{speaker}-{take} {path.relative_to(root)}")
                parts = [f"{speaker}-{take}"] if name == "train" else [f"{speaker}-{take}-{part}" for part in "ab"]
                lines["utt2spk"] += [f"{part} {speaker}" for part in parts]
                lines["segments"] += [f"{part} {speaker}-{take} {0.25 + i} -1" for i, part in enumerate(parts)]
        (root / "data" / name).mkdir(parents=True)
        for file, text in lines.items():
            if file != "segments" or name == "test":
                (root / "data" / name / file).write_text("".join(f"{line}\n" for line in text))
    return root / "data"


@pytest.fixture
def prepare(clips, tmp_path, kaldi):
    run = program("prepare_kaldi")
    return lambda *words: run("--train", kaldi / "train", "--eval", kaldi / "test", *clips, *words, tmp_path / "data")


def edit(path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_files_and_segments_become_sets(prepare, make_cuts, tmp_path):
    from lhotse import CutSet

    prepare()
    make_cuts(tmp_path / "data")
    train = list(CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz"))
    assert [cut.id for cut in train][:2] == ["ann-0", "ann-1"]
    assert all(cut.supervisions[0].speaker is None for cut in train)
    own = {cut.id: cut for cut in CutSet.from_jsonl_lazy(tmp_path / "data" / "eval" / "cuts.jsonl.gz")}
    assert (own["eve-0-b"].start, own["eve-0-b"].duration) == (1.25, 1.75)
    assert own["eve-0-b"].recording_id == "eve-0"
    assert own["eve-0-b"].load_audio().shape == (1, 28000)
    assert len(rows(tmp_path / "data" / "eval" / "recordings.jsonl.gz")) == 4


def test_commands_run_only_when_allowed(prepare, kaldi, make_cuts, tmp_path):
    from lhotse import CutSet

    path = next((kaldi.parent / "audio" / "train").glob("ann0.wav"))
    edit(kaldi / "train" / "wav.scp", "audio/train/ann0.wav", f"touch {tmp_path}/run; cat {path} |")
    with pytest.raises(SdpnError, match=r"wav.scp: 1 recording is a command, e.g. `touch .*--allow-pipes"):
        prepare()
    assert not (tmp_path / "run").exists()
    prepare("--allow-pipes")
    assert (tmp_path / "run").exists()
    make_cuts(tmp_path / "data")
    cut = next(iter(CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz")))
    assert (cut.id, cut.recording.sources[0].type, cut.num_samples) == ("ann-0", "command", 48000)
    assert cut.load_audio().shape == (1, 48000)


def test_a_command_that_fails_is_skipped_with_what_it_said(prepare, kaldi, tmp_path):
    edit(kaldi / "train" / "wav.scp", "audio/train/ann0.wav", "echo no such tape >&2; false | cat |")
    edit(kaldi / "train" / "wav.scp", "audio/train/ann1.wav", "echo words |")
    prepare("--allow-pipes", "--max-skipped", 0.5)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    assert listed[0].startswith("ann-0\tthe command failed\t")
    assert listed[0].endswith("no such tape")
    assert listed[1].startswith("ann-1\ta command does not give audio\t")


def test_windows_line_ends_a_byte_order_mark_and_utf_8_are_read(prepare, kaldi, tmp_path):
    for name in ("wav.scp", "utt2spk"):
        text = (kaldi / "train" / name).read_text().replace("ann", "Zoë").replace("audio/train/Zoë", "audio/train/ann")
        (kaldi / "train" / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    prepare()
    assert {row["speaker"] for row in rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")} == {
        "Zoë",
        "bob",
        "cyd",
    }


def test_a_training_set_without_labels_serves(prepare, kaldi, make_cuts, tmp_path, capsys):
    (kaldi / "train" / "utt2spk").unlink()
    prepare()
    assert "train: no speaker labels, 6 utterances" in capsys.readouterr().out
    make_cuts(tmp_path / "data")
    assert not (tmp_path / "data" / "train" / "utt2spk.oracle").exists()


def test_spk2utt_serves_for_utt2spk_and_must_agree_with_it(prepare, kaldi, tmp_path):
    (kaldi / "train" / "spk2utt").write_text("ann ann-0 ann-1\nbob bob-0 bob-1\ncyd cyd-0 cyd-1\n")
    (kaldi / "train" / "utt2spk").rename(kaldi / "utt2spk")
    prepare()
    assert {row["speaker"] for row in rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")} == set(SPEAKERS)
    (kaldi / "utt2spk").rename(kaldi / "train" / "utt2spk")
    (kaldi / "train" / "spk2utt").write_text("ann ann-0 bob-1\nbob bob-0 ann-1\ncyd cyd-0 cyd-1\n")
    with pytest.raises(SdpnError, match=r"utt2spk and spk2utt disagree on 2 utterances: ann-1, bob-1"):
        prepare()


def test_features_that_are_there_are_named_with_absolute_paths(prepare, kaldi, tmp_path):
    (kaldi.parent / "fbank").mkdir()
    (kaldi.parent / "fbank" / "raw.1.ark").touch()
    (kaldi / "train" / "feats.scp").write_text(
        "ann-0 fbank/raw.1.ark:6\nbob-0 fbank/raw.1.ark:600\nzed fbank/raw.1.ark:9\n"
    )
    prepare("--max-skipped", 0.2)
    assert Corpus.read(tmp_path / "data").given_features == {"train": "feats.scp.given"}
    listed = (tmp_path / "data" / "train" / "feats.scp.given").read_text().splitlines()
    assert listed == [f"ann-0 {kaldi.parent}/fbank/raw.1.ark:6", f"bob-0 {kaldi.parent}/fbank/raw.1.ark:600"]


def test_parts_of_matrices_stay_with_the_features_and_other_forms_are_refused(prepare, kaldi, tmp_path):
    (kaldi / "train" / "feats.scp").write_text(
        "ann-0 /x/raw.1.ark:6[0:99]\nann-1 /x/raw.1.ark:6[100:199,:]\nbob-0 /x/raw.1.ark:6[0:99,0:39]\n"
        "bob-1 /x/raw.txt:6[:,0:39]\ncyd-0 /x/cyd-0.mat\n"
    )
    prepare()
    listed = (tmp_path / "data" / "train" / "feats.scp.given").read_text()
    assert listed == (
        "ann-0 /x/raw.1.ark:6[0:99]\nann-1 /x/raw.1.ark:6[100:199]\nbob-0 /x/raw.1.ark:6[0:99,0:39]\n"
        "bob-1 /x/raw.txt:6[:,0:39]\ncyd-0 /x/cyd-0.mat:0\n"
    )
    (kaldi / "train" / "feats.scp").write_text("ann-0 /x/raw.1.ark:6[0:99][0:9]\nann-1 /x/raw.1.ark:6\n")
    with pytest.raises(SdpnError, match=r"feats.scp: 1 lines are not .*e.g. 'ann-0 /x/.*copy-feats"):
        prepare()


def test_held_out_speakers_keep_the_features_that_are_there(prepare, kaldi, tmp_path):
    add_speakers(kaldi)
    ids = [line.split()[0] for line in (kaldi / "train" / "wav.scp").read_text().splitlines()]
    (kaldi / "train" / "feats.scp").write_text("".join(f"{id} /x/raw.ark:{n}\n" for n, id in enumerate(ids)))
    prepare("--dev-speakers", 2)
    given = {"train": "feats.scp.given", "dev": "feats.scp.given"}
    assert Corpus.read(tmp_path / "data").given_features == given
    for name in given:
        listed = (tmp_path / "data" / name / given[name]).read_text().splitlines()
        own = [row["id"] for row in rows(tmp_path / "data" / name / "supervisions.jsonl.gz")]
        assert [line.split()[0] for line in listed] == own


def test_trials_of_the_directory_and_enrollment_maps_are_used(prepare, kaldi, tmp_path):
    (kaldi / "test" / "trials").write_text("Eve fay-0-a nontarget\nEve eve-1-b target\n")
    (tmp_path / "enroll.map").write_text("Eve eve-0-a eve-0-b\nUnused nobody-0 fay-1-a\n")
    with pytest.raises(SdpnError, match=r"--enroll-map says what the models of --trials are made of"):
        prepare("--enroll-map", tmp_path / "enroll.map")
    prepare("--trials", kaldi / "test" / "trials", "--enroll-map", tmp_path / "enroll.map")
    folder = tmp_path / "data" / "trials"
    assert [trial.enroll for trial in read_trials(folder / "eval.txt")] == ["Eve", "Eve"]
    assert read_enroll_map(folder / "eval.enroll.map") == {"Eve": ["eve-0-a", "eve-0-b"]}


def test_trials_beside_the_segments_serve_without_being_named(prepare, kaldi, tmp_path):
    (kaldi / "test" / "trials").write_text("eve-0-a fay-0-a nontarget\neve-0-a eve-1-b target\n")
    prepare()
    assert len(read_trials(tmp_path / "data" / "trials" / "eval.txt")) == 2


def add_speakers(kaldi) -> None:
    """Three more speakers for the training set."""
    shutil.copytree(kaldi.parent / "audio" / "train", kaldi.parent / "audio" / "more")
    for take in ("utt2spk", "wav.scp"):
        path = kaldi / "train" / take
        path.write_text(
            path.read_text()
            + path.read_text()
            .replace("ann-", "dan-")
            .replace("bob-", "els-")
            .replace("cyd-", "fox-")
            .replace(" ann\n", " dan\n")
            .replace(" bob\n", " els\n")
            .replace(" cyd\n", " fox\n")
            .replace("audio/train", "audio/more")
        )


def test_every_evaluation_set_has_the_trials_beside_its_segments(clips, kaldi, tmp_path):
    words = ["--train", kaldi / "train", "--eval", f"{kaldi}/test,{kaldi}/far,{kaldi}/far2", *clips, tmp_path / "data"]
    for name in ("far", "far2"):
        shutil.copytree(kaldi / "test", kaldi / name)
    (kaldi / "test" / "trials").write_text("eve-0-a fay-0-a nontarget\neve-0-a eve-1-b target\n")
    (kaldi / "far" / "trials").write_text("fay-0-a eve-0-b nontarget\nfay-0-a fay-1-b target\n")
    run = program("prepare_kaldi")
    run(*words)
    assert list(Corpus.read(tmp_path / "data").trials) == ["eval_test", "eval_far", "eval_far2"]
    found = {name: read_trials(tmp_path / "data" / "trials" / f"eval_{name}.txt") for name in ("test", "far", "far2")}
    assert [trial.enroll for trial in found["test"]] == ["eve-0-a", "eve-0-a"]
    assert [trial.enroll for trial in found["far"]] == ["fay-0-a", "fay-0-a"]
    assert len(found["far2"]) > 2
    (kaldi / "far" / "trials").write_text("fay-0-a eve-1-b nontarget\nfay-0-a fay-1-b target\n")
    run(*words)
    assert read_trials(tmp_path / "data" / "trials" / "eval_far.txt")[0].test == "eve-1-b"
    (kaldi / "far" / "trials").write_text("fay-0-a eve-9-b nontarget\nfay-0-a fay-1-b target\n")
    with pytest.raises(SdpnError, match=r"far/trials: 1 of its 3 names are no usable utterances of eval_far: eve-9-b"):
        run(*words)


def test_without_an_evaluation_set_speakers_are_held_out(clips, kaldi, tmp_path):
    run = program("prepare_kaldi")
    add_speakers(kaldi)
    run("--train", kaldi / "train", *clips, tmp_path / "data")
    assert len(rows(tmp_path / "data" / "eval" / "recordings.jsonl.gz")) == 4
    run("--train", kaldi / "train", "--eval-share", 0, *clips, tmp_path / "all")
    assert not (tmp_path / "all" / "eval").exists()


def test_without_labels_all_of_it_is_trained_on(clips, kaldi, tmp_path):
    for name in ("utt2spk", "spk2utt"):
        (kaldi / "train" / name).unlink(missing_ok=True)
    program("prepare_kaldi")("--train", kaldi / "train", *clips, tmp_path / "data")
    assert len(rows(tmp_path / "data" / "train" / "recordings.jsonl.gz")) == 6
    assert Corpus.read(tmp_path / "data").evals == []


def test_why_nothing_can_be_split_is_told(clips, prepare, kaldi, tmp_path):
    (kaldi.parent / "audio").rename(kaldi.parent / "moved")
    sentence = r"none of 6 utterances can be used \(the first: ann-0: there is no such file\)"
    with pytest.raises(SdpnError, match=rf"egs/data/train: {sentence}"):
        program("prepare_kaldi")("--train", kaldi / "train", *clips, tmp_path / "data")
    with pytest.raises(SdpnError, match=rf"the training set: {sentence}"):
        prepare("--dev-speakers", 2)


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("wav.scp", "ann-1 ", "ann-0 ", r"wav.scp, line 2: ann-0 stands there twice"),
        ("wav.scp", "ann-1 audio/train/ann1.wav", "ann-1", r"wav.scp, line 2: expected an id and a value, got 'ann-1'"),
        ("wav.scp", "audio/train/ann1.wav", "raw/wav.1.ark:77", r"1 recording is in an archive, e.g. raw/wav.1.ark:77"),
        ("utt2spk", "ann-1 ann", "ann-1 ann bob", r"utt2spk, line 2: expected .*'ann-1 ann bob'"),
    ],
)
def test_lines_of_another_form_are_a_sentence(prepare, kaldi, file, old, new, sentence):
    edit(kaldi / "train" / file, old, new)
    with pytest.raises(SdpnError, match=sentence):
        prepare()


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        ("eve-0-a eve-0 start 2", r"segments: eve-0-a: expected `utterance recording start end`"),
        ("eve-0-a eve-0 2", r"segments: eve-0-a: expected"),
        ("eve-0-a eve-0 2 1", r"segments: eve-0-a: it ends at 1 s, where it begins at 2 s"),
        (
            "eve-0-a eve-0 0 1 left",
            r"segments: eve-0-a: expected .* a channel \(A, B or a number\), got 'eve-0 0 1 left'",
        ),
        ("eve-0-a eve-0 0 1 -1", r"segments: eve-0-a: expected"),
        ("eve-0-a eve-0 nan 1", r"segments: eve-0-a: it ends at"),
        ("eve-0-a tape-9 0 1", r"eval: 1 of 8 .* would be skipped.*: 1 its recording is not in wav.scp"),
    ],
)
def test_segments_of_another_form_are_a_sentence(prepare, kaldi, new, sentence):
    edit(kaldi / "test" / "segments", "eve-0-a eve-0 0.25 -1", new)
    with pytest.raises(SdpnError, match=sentence):
        prepare()


def test_segments_of_channels_are_read_and_those_of_channels_that_lack_are_skipped(prepare, kaldi, tmp_path):
    stereo = kaldi.parent / "audio" / "test" / "fay0.wav"
    samples, rate = soundfile.read(stereo)
    soundfile.write(stereo, np.stack([samples, samples[::-1]], axis=1), rate)
    edit(kaldi / "test" / "segments", "fay-0-a fay-0 0.25 -1", "fay-0-a fay-0 0.25 -1 B")
    edit(kaldi / "test" / "segments", "fay-0-b fay-0 1.25 -1", "fay-0-b fay-0 1.25 -1 2")
    edit(kaldi / "test" / "segments", "eve-0-a eve-0 0.25 -1", "eve-0-a eve-0 0.25 -1 A")
    edit(kaldi / "test" / "segments", "eve-0-b eve-0 1.25 -1", "eve-0-b eve-0 1.25 -1 B")
    prepare("--max-skipped", 0.5)
    own = {row["id"]: row["channel"] for row in rows(tmp_path / "data" / "eval" / "supervisions.jsonl.gz")}
    assert {id: own[id] for id in ("fay-0-a", "eve-0-a")} == {"fay-0-a": 1, "eve-0-a": 0}
    listed = (tmp_path / "data" / "eval" / "skipped_files.tsv").read_text().splitlines()
    assert listed == [
        "eve-0-b\tits recording lacks the channel\tB",
        "fay-0-b\tits recording lacks the channel\t2",
    ]


def test_files_that_are_missing_or_cut_off_and_late_segments_are_skipped(prepare, kaldi, tmp_path):
    os.truncate(kaldi.parent / "audio" / "train" / "ann0.wav", 5000)
    (kaldi.parent / "audio" / "train" / "bob0.wav").unlink()
    edit(kaldi / "test" / "segments", "eve-0-a eve-0 0.25 -1", "eve-0-a eve-0 17 18")
    edit(kaldi / "train" / "utt2spk", "cyd-0 cyd\n", "")
    prepare("--max-skipped", 0.6)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    assert listed == [
        "ann-0\tcut off\tits header says 3.00 s, 0.15 s are there",
        "bob-0\tthere is no such file",
        "cyd-0\tit has no speaker in utt2spk",
    ]
    late = (tmp_path / "data" / "eval" / "skipped_files.tsv").read_text()
    assert late == "eve-0-a\tit begins behind the end of its recording\tat 17 of 3 s\n"


def add(path, *lines: str) -> None:
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


def test_utterances_that_some_files_name_and_others_do_not_are_counted(prepare, kaldi, tmp_path, capsys):
    """Where Kaldi's validate_data_dir.sh refuses a directory, and fix_data_dir.sh takes them away."""
    add(kaldi / "train" / "utt2spk", *(f"dan-{take} dan" for take in range(8)))
    (kaldi / "train" / "feats.scp").write_text("ann-0 /x/raw.ark:6\ndan-7 /x/raw.ark:9\nels-0 /x/raw.ark:12\n")
    with pytest.raises(SdpnError, match=r"train: 9 of 15 .* would be skipped.*: 9 it is not in wav.scp"):
        prepare()
    prepare("--max-skipped", 0.6)
    assert "train: 9 skipped, it is not in wav.scp" in capsys.readouterr().out
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text().splitlines()
    assert listed[0] == "dan-0\tit is not in wav.scp\tutt2spk names it"
    assert listed[7:] == [
        "dan-7\tit is not in wav.scp\tutt2spk and feats.scp name it",
        "els-0\tit is not in wav.scp\tfeats.scp names it",
    ]


def test_segments_and_recordings_without_each_other_are_counted(prepare, kaldi, tmp_path, capsys):
    edit(kaldi / "test" / "segments", "eve-0-a eve-0 0.25 -1", "eve-0-a tape-9 0.25 -1")
    add(kaldi / "test" / "utt2spk", "eve-9-a eve")
    edit(kaldi / "test" / "segments", "fay-1-a fay-1 0.25 -1\nfay-1-b fay-1 1.25 -1\n", "")
    prepare("--max-skipped", 0.5)
    listed = (tmp_path / "data" / "eval" / "skipped_files.tsv").read_text().splitlines()
    assert sorted(listed) == [
        "eve-0-a\tits recording is not in wav.scp\ttape-9",
        "eve-9-a\tit is not in segments\tutt2spk names it",
        "fay-1-a\tit is not in segments\tutt2spk names it",
        "fay-1-b\tit is not in segments\tutt2spk names it",
    ]
    assert "1 recording of wav.scp has no segment" in capsys.readouterr().out


def test_an_utterance_of_two_speakers_in_spk2utt_is_refused(prepare, kaldi):
    (kaldi / "train" / "utt2spk").unlink()
    (kaldi / "train" / "spk2utt").write_text("ann ann-0 ann-1\nbob bob-0 bob-1 ann-1\ncyd cyd-0 cyd-1\n")
    with pytest.raises(SdpnError, match="spk2utt: ann-1 has more than one speaker"):
        prepare()


def extracted(start: float, end: float, rate: int, length: int) -> tuple[int, int] | None:
    """What Kaldi's extract-segments takes, in its types: int32 = double * float; None where it drops the segment."""
    first, last = (int(np.int32(np.float64(second) * np.float32(rate))) for second in (start, end))
    if first >= length or last >= length + np.int32(np.float32(0.5) * np.float32(rate)):
        return None
    return first, min(last, length)


@pytest.mark.parametrize("rate", [16000, 44100, 22050])
def test_segments_are_the_samples_that_kaldi_extracts(prepare, kaldi, make_cuts, tmp_path, rate):
    """Also where a recording is resampled, and for ends up to half a second behind that of the recording."""
    rng = np.random.default_rng(rate)
    path = kaldi.parent / "audio" / "train" / "long.wav"
    samples = (rng.normal(0, 0.1, 20 * rate) * 32768).astype(np.int16)
    soundfile.write(path, samples, rate)
    starts = rng.uniform(0, 19, 180)
    ends = starts + rng.uniform(0.3, 2, 180)
    cases = [(f"{start:.6f}", f"{end:.6f}") for start, end in zip(starts, ends, strict=True)]
    cases += [("0.29", "4.35"), ("1.1", "20.49"), ("1.1", "20.5"), ("18", "22"), ("19.999999", "20.2"), ("0", "20")]
    (kaldi / "train" / "wav.scp").write_text(f"ann-long {path}\n")
    (kaldi / "train" / "utt2spk").write_text("".join(f"ann-{n:03d} ann\n" for n in range(len(cases))))
    (kaldi / "train" / "segments").write_text(
        "".join(f"ann-{n:03d} ann-long {start} {end}\n" for n, (start, end) in enumerate(cases))
    )
    prepare("--max-skipped", 0.6)
    config = tmp_path / "cuts.yaml"
    config.write_text("min_duration: 0.03\nmax_skipped: 0.6\n")
    make_cuts("--config", config, tmp_path / "data")
    cuts = {cut.id: cut for cut in read_cuts(tmp_path / "data" / "train")}
    for number, (start, end) in enumerate(cases):
        expected = extracted(float(start), float(end), rate, len(samples))
        cut = cuts.pop(f"ann-{number:03d}", None)
        if expected is None or expected[1] - expected[0] < 0.03 * rate:
            assert cut is None
            continue
        own = samples[slice(*expected)].astype(np.float32) / 32768
        if rate != 16000:
            own = soxr.resample(own, rate, 16000, quality="HQ")
        found = load_samples(cut)
        assert abs(len(found) - len(own)) <= (rate != 16000)
        common = min(len(found), len(own))
        np.testing.assert_allclose(found[:common], own[:common], atol=2e-6)
    assert not cuts


def test_what_subsegment_data_dir_writes_goes_through_stages_0_to_2(prepare, kaldi, make_cuts, tmp_path):
    """Windows over features in Kaldi's default compression, one of them NaN; Kaldi's own code makes and reads them."""
    method = kaldi_native_io.CompressionMethod.kSpeechFeature
    rng = np.random.default_rng(0)
    ids = [line.split()[0] for line in (kaldi / "train" / "wav.scp").read_text().splitlines()]
    where = f"ark,scp:{kaldi.parent}/raw.ark,{kaldi.parent}/raw.scp"
    with kaldi_native_io.CompressedMatrixWriter(where) as writer:
        for id in ids:
            writer.write(id, rng.normal(-6, 3, (300, 80)).astype(np.float32), method)
    matrices = dict(line.split() for line in (kaldi.parent / "raw.scp").read_text().splitlines())
    windows = {f"{id}-{first:03d}": (id, first) for id in ids for first in (0, 75, 150)}
    lines = {
        "segments": [f"{name} {id} {first / 100} {first / 100 + 1.5}" for name, (id, first) in windows.items()],
        "utt2spk": [f"{name} {id[:3]}" for name, (id, _) in windows.items()],
        "feats.scp": [f"{name} {matrices[id]}[{first}:{first + 149}]" for name, (id, first) in windows.items()],
    }
    kaldi_native_io.FloatMatrix(np.full((150, 80), np.nan, dtype=np.float32)).write(
        f"{kaldi.parent}/nan.mat", binary=True
    )
    lines["feats.scp"][0] = f"{ids[0]}-000 {kaldi.parent}/nan.mat"
    for file, text in lines.items():
        (kaldi / "train" / file).write_text("".join(f"{line}\n" for line in text))
    prepare()
    make_cuts(tmp_path / "data")
    data = tmp_path / "data" / "train"
    make_set(data, FbankConfig(), None, given=data / "feats.scp.given", max_skipped=0.1)
    assert (data / "skipped_fbank.txt").read_text().startswith(f"{ids[0]}-000\tNaN or infinite\t")
    index = FeatureIndex.open(data)
    assert index.ids == sorted(windows)[1:]
    for line in lines["feats.scp"][1:]:
        name, part = line.split()
        expected = kaldi_native_io.FloatMatrix.read(part).numpy()
        np.testing.assert_allclose(index.read(index.number_of(name)), expected, atol=1e-5)
    with pytest.raises(SdpnError, match=r"1 of 18 .*NaN or infinite"):
        make_set(data, FbankConfig(), None, given=data / "feats.scp.given", max_skipped=0.01)


def test_a_missing_first_file_does_not_hide_where_the_others_are(prepare, kaldi, tmp_path):
    (kaldi.parent / "audio" / "train" / "ann0.wav").unlink()
    prepare("--max-skipped", 0.2)
    assert rows(tmp_path / "data" / "train" / "recordings.jsonl.gz")[0]["id"] == "ann-1"


def test_a_named_pipe_and_a_folder_in_the_place_of_a_file_are_skipped(prepare, kaldi, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    edit(kaldi / "train" / "wav.scp", "audio/train/ann0.wav", f"{tmp_path}/pipe")
    edit(kaldi / "train" / "wav.scp", "audio/train/bob0.wav", str(tmp_path))
    prepare("--max-skipped", 0.4)
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text()
    assert listed == "ann-0\tnot a regular file\nbob-0\tnot a regular file\n"


def test_a_folder_that_is_no_data_directory_is_a_sentence(prepare, kaldi):
    (kaldi / "test" / "wav.scp").unlink()
    with pytest.raises(SdpnError, match=r"test/wav.scp is missing: is this a Kaldi data directory\?"):
        prepare()


def test_relative_paths_in_commands_are_those_of_the_recipe(prepare, kaldi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edit(kaldi / "train" / "wav.scp", "audio/train/ann0.wav", "cat audio/train/ann0.wav |")
    prepare("--allow-pipes", "--cuts-config", ROOT / "conf" / "cuts.yaml")
    source = rows(tmp_path / "data" / "train" / "recordings.jsonl.gz")[0]["sources"][0]
    assert source["source"] == f"cd {kaldi.parent} && cat audio/train/ann0.wav"


def test_trials_find_ids_in_either_of_unicodes_forms(prepare, kaldi, tmp_path):
    for name in ("wav.scp", "utt2spk", "segments"):
        path = kaldi / "test" / name
        path.write_text(path.read_text().replace("eve-", "e\u0301ve-").replace(" eve\n", " e\u0301ve\n"))
    (kaldi / "test" / "trials").write_text("\u00e9ve-0-a fay-0-a 0\n\u00e9ve-0-a \u00e9ve-1-b 1\n")
    prepare()
    assert read_trials(tmp_path / "data" / "trials" / "eval.txt")[1].target
    assert (tmp_path / "data" / "trials" / "eval.txt").read_text().startswith("\u00e9ve-0-a fay-0-a nontarget\n")
