"""Kaldi data directories out, checked by the rules of utils/validate_data_dir.sh."""

import io
import subprocess

import numpy as np
import pytest
import soundfile
from lhotse.kaldi import load_kaldi_data_dir

from sdpn.audio.headers import read_header
from sdpn.audio.read import read_blocks
from sdpn.commands.export import export
from sdpn.corpus.layout import Corpus
from sdpn.corpus.manifests import write_set
from sdpn.errors import SdpnError
from sdpn.files import write_jsonl_gz, write_text
from sdpn.utterance import Utterance
from tests.audio.decoders.test_mpeg import with_table_of_fraunhofers
from tests.corpus.conftest import encode, needs_ffmpeg, program, rows, write_audio, write_voice


def entry(
    folder, id: str, suffix: str = "wav", seconds: float = 1.5, rate: int = 16000, channels: int = 1, **own
) -> Utterance:
    path = write_audio(folder / "my audio" / f"{id}.{suffix}", seconds, rate, channels)
    return Utterance(id, str(path), rate, int(seconds * rate), channels, **own)


@pytest.fixture
def data(tmp_path, make_cuts):
    write_set(tmp_path / "train", [entry(tmp_path, f"t{n}", speaker="Ann", gender="f") for n in range(2)])
    own = [
        entry(tmp_path, "a-x", speaker="a", gender="f"),
        entry(tmp_path, "a-b-y", "flac", speaker="a-b", gender="m"),
        entry(tmp_path, "Zoë-1", rate=8000, channels=2, speaker="Zoë", gender="f"),
    ]
    write_set(tmp_path / "eval", own)
    write_set(tmp_path / "noise", [entry(tmp_path, "n")], speech=False)
    Corpus("test", "train", ["eval"], {"eval": "eval"}, {"noise": "noise"}).write(tmp_path)
    make_cuts(tmp_path)
    return tmp_path


def run(*words) -> None:
    export.main(["kaldi-dir", *map(str, words)], standalone_mode=False)


def validate(folder) -> dict[str, dict[str, str]]:
    """The tables of a data directory, which must be sorted, unique and complete, as validate_data_dir.sh has it."""
    tables = {}
    for path in folder.glob("[!.]*"):
        subprocess.run(["sort", "-c", "-u", "-k1,1", path], check=True, env={"LC_ALL": "C"})
        lines = path.read_text().splitlines()
        assert all(line == line.strip() and len(line.split()) >= 2 for line in lines)
        tables[path.name] = dict(line.split(maxsplit=1) for line in lines)
    by_speaker = "".join(sorted(f"{speaker} {id}\n" for id, speaker in tables["utt2spk"].items()))
    pairs = [f"{speaker} {id}\n" for id, speaker in tables["utt2spk"].items()]
    assert sorted(pairs, key=str.encode) == pairs, by_speaker  # "not in sorted order when sorted first on speaker-id"
    assert {id: speaker for speaker, ids in tables["spk2utt"].items() for id in ids.split()} == tables["utt2spk"]
    segments = tables.get("segments", {id: f"{id} 0 0" for id in tables["wav.scp"]})
    assert segments.keys() == tables["utt2spk"].keys() == tables["utt2dur"].keys()
    assert {line.split()[0] for line in segments.values()} == tables["wav.scp"].keys() == tables["reco2dur"].keys()
    if "spk2gender" in tables:
        assert tables["spk2gender"].keys() == tables["spk2utt"].keys()
    if "feats.scp" in tables:
        assert tables["feats.scp"].keys() == tables["utt2spk"].keys()
    return tables


def test_an_evaluation_set_is_valid_and_sorted_by_speaker_too(data):
    run(data / "eval", data / "out")
    tables = validate(data / "out")
    # a-b-y sorts before a-x although the speaker a comes before a-b, so the speakers are put before
    assert tables["utt2spk"] == {"Zoë-Zoë-1": "Zoë", "a-a-x": "a", "a-b-a-b-y": "a-b"}
    assert tables["spk2gender"] == {"a": "f", "a-b": "m", "Zoë": "f"}
    assert tables["wav.scp"]["a-a-x"] == str(data / "my audio" / "a-x.wav")


@needs_ffmpeg
def test_commands_give_kaldi_mono_16_bit_wav_at_the_cuts_rate(data):
    run(data / "eval", data / "out")
    commands = [value for value in validate(data / "out")["wav.scp"].values() if value.endswith("|")]
    assert len(commands) == 2
    for command in commands:
        wav = subprocess.run(["bash", "-c", command[:-1]], capture_output=True, check=True).stdout
        info = soundfile.info(io.BytesIO(wav))
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")


def vbri(path):
    """MPEG frames behind a table of Fraunhofer's."""
    path.write_bytes(with_table_of_fraunhofers(path.read_bytes()))


def as_from_a_crash(path):
    """WAV whose recorder did not come to write the number of its bytes."""
    head, data, rest = path.read_bytes().partition(b"data")
    path.write_bytes(head + data + bytes(4) + rest[4:])


FRAMES_ALONE = ["-b:a", "32k", "-write_xing", "0", "-id3v2_version", "0"]


@needs_ffmpeg
@pytest.mark.parametrize(
    ("suffix", "channels", "options", "change"),
    [
        ("m4a", 1, [], None),
        ("m4a", 2, [], None),
        ("mp3", 1, ["-b:a", "32k"], None),
        ("mp3", 1, FRAMES_ALONE, None),
        ("mp3", 1, FRAMES_ALONE, vbri),
        ("ogg", 2, [], None),
        ("flac", 1, [], None),
        ("wav", 1, [], as_from_a_crash),
    ],
)
def test_commands_give_kaldi_the_samples_that_stage_2_reads(tmp_path, make_cuts, suffix, channels, options, change):
    path = encode(write_audio(tmp_path / "noise.wav", 1.7, channels=channels), tmp_path / f"t.{suffix}", *options)
    if change:
        change(path)
    write_set(tmp_path / "train", [Utterance("t", str(path), *read_header(path))])
    Corpus("test", "train", [], {}, {}).write(tmp_path)
    make_cuts(tmp_path)
    run(tmp_path / "train", tmp_path / "out")
    source = validate(tmp_path / "out")["wav.scp"]["t"]
    if source.endswith("|"):
        source = io.BytesIO(subprocess.run(["bash", "-c", source[:-1]], capture_output=True, check=True).stdout)
    expected = np.concatenate([block[:, 0] for block in read_blocks(path, rate=16000)])
    found, _ = soundfile.read(source)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)  # 16 bits, rounded one way or the other


def test_what_is_joined_in_one_file_is_not_exported(tmp_path, make_cuts):
    """The program ffmpeg plays a little of what lies between two streams, or stops there."""
    path = write_audio(tmp_path / "t.ogg", 1.7)
    path.write_bytes(path.read_bytes() * 2)
    write_set(tmp_path / "train", [Utterance("t", str(path), *read_header(path))])
    Corpus("test", "train", [], {}, {}).write(tmp_path)
    make_cuts(tmp_path)
    with pytest.raises(SdpnError, match="2 streams are joined"):
        run(tmp_path / "train", tmp_path / "out")


def test_a_training_set_has_no_speakers_unless_oracle_is_asked_for(data):
    run(data / "train", data / "out")
    assert validate(data / "out")["utt2spk"] == {"t0": "t0", "t1": "t1"}
    run(data / "train", data / "out", "--oracle")
    assert validate(data / "out")["utt2spk"] == {"t0": "Ann", "t1": "Ann"}
    with pytest.raises(SdpnError, match=r"utt2spk.oracle is missing"):
        run(data / "eval", data / "out", "--oracle")


def test_parts_of_recordings_become_segments(data, make_cuts):
    long = entry(data, "t9", seconds=4.0, speaker="Ann")
    write_set(data / "train", [long])
    make_cuts("--max-duration", 2.5, data)
    run(data / "train", data / "out")
    tables = validate(data / "out")
    assert tables["segments"] == {"t9-w1": "t9 0.000000 2.000000", "t9-w2": "t9 2.000000 4.000000"}
    assert tables["wav.scp"].keys() == {"t9"}


def test_features_go_along_and_what_has_none_is_left_out(data, capsys):
    write_text(data / "eval" / "feats.scp", "a-x /f.ark:9\nZoë-1 /f.ark:77\n")
    run(data / "eval", data / "out")
    assert validate(data / "out")["feats.scp"] == {"Zoë-1": "/f.ark:77", "a-x": "/f.ark:9"}
    assert "1 utterance has no features: left out" in capsys.readouterr().err


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_segments_are_the_samples_of_the_cuts_to_kaldi(data, rate):
    """Kaldi cuts fractions off: 19753 / 16000 s, written as 1.234562, would be sample 19752."""
    rng = np.random.default_rng(0)
    cuts, parts = [], {}
    for number, (first, last) in enumerate(np.sort(rng.integers(0, 600 * rate, (2000, 2))).tolist()):
        cut = Utterance(f"a-{number:04d}", "/tape.wav", rate, 600 * rate, recording="tape", channel=0)
        cuts.append(cut.changed(start=first / rate, duration=round((last - first) / rate, 8)).cut_entry())
        parts[cut.id] = first, last
    write_jsonl_gz(data / "eval" / "cuts.jsonl.gz", cuts)
    (data / "eval" / "utt2spk").write_text("".join(f"{id} a\n" for id in parts))
    run(data / "eval", data / "kaldi")
    for id, line in validate(data / "kaldi")["segments"].items():
        ends = [int(np.int32(np.float64(second) * np.float32(rate))) for second in line.split()[1:]]
        assert tuple(ends) == parts[id]


def test_what_lhotse_alone_can_read_is_a_sentence(data):
    cut = Utterance("a-1", str(data / "my audio" / "a-x.wav"), 16000, 24000, channel=0).cut_entry()
    for change in ({"name": "Speed", "kwargs": {"factor": 1.1}}, {"name": "Volume", "kwargs": {"factor": 2.0}}):
        cut["recording"]["transforms"] = [change]
        write_jsonl_gz(data / "eval" / "cuts.jsonl.gz", [cut])
        with pytest.raises(SdpnError, match=rf"a-1 \({change['name']}\).*save_audios"):
            run(data / "eval", data / "kaldi")
    cut["recording"] |= {"transforms": None, "sources": cut["recording"]["sources"] * 2}
    write_jsonl_gz(data / "eval" / "cuts.jsonl.gz", [cut])
    with pytest.raises(SdpnError, match=r"a-1 \(several files\)"):
        run(data / "eval", data / "kaldi")


def test_lhotse_reads_it_back(data):
    run(data / "train", data / "out")
    recordings, supervisions, _ = load_kaldi_data_dir(data / "out", 16000)
    assert {segment.id for segment in supervisions} == {"t0", "t1"}
    assert [recording.num_samples for recording in recordings] == [24000, 24000]


def test_what_goes_out_comes_in_again(data, clips, make_cuts):
    people = ("p1", "p2", "p3", "p4")
    own = [
        Utterance(f"{p}-{n}", str(write_voice(data / "v" / f"{p}-{n}.wav", i, n, 1.5)), 16000, 24000, speaker=p)
        for i, p in enumerate(people)
        for n in range(2)
    ]
    write_set(data / "eval", own)
    make_cuts(data)
    run(data / "eval", data / "out")
    program("prepare_kaldi")("--train", data / "out", *clips, data / "again")
    found = rows(data / "again" / "train" / "recordings.jsonl.gz") + rows(
        data / "again" / "eval" / "recordings.jsonl.gz"
    )
    assert {row["id"]: row["num_samples"] for row in found} == {one.id: 24000 for one in own}


def test_a_folder_without_cuts_is_a_sentence(tmp_path):
    with pytest.raises(SdpnError, match=r"cuts.jsonl.gz is missing: run stages 0 and 1 first"):
        run(tmp_path, tmp_path / "out")


def test_numbers_are_not_rounded_away(data):
    run(data / "train", data / "out")
    durations = validate(data / "out")["utt2dur"].values()
    np.testing.assert_allclose([float(value) for value in durations], 1.5, atol=1e-6)


def test_paths_of_features_become_absolute(data, monkeypatch):
    (data / "f.ark").touch()
    write_text(data / "train" / "feats.scp", "t0 f.ark:9\nt1 f.ark:77\n")
    monkeypatch.chdir(data)
    run("train", "out")
    assert validate(data / "out")["feats.scp"] == {"t0": f"{data}/f.ark:9", "t1": f"{data}/f.ark:77"}


def test_somebodys_data_directory_is_not_written_over_and_an_export_is(data, tmp_path):
    write_text(tmp_path / "own" / "wav.scp", "a a.wav\n")
    with pytest.raises(SdpnError, match=r"own is a data directory that was not exported before: name another folder"):
        run(data / "eval", tmp_path / "own")
    assert (tmp_path / "own" / "wav.scp").read_text() == "a a.wav\n"
    for name in ("eval", "train"):
        run(data / name, tmp_path / "out")
        assert len(validate(tmp_path / "out")["utt2spk"]) == len(rows(data / name / "cuts.jsonl.gz"))


def test_a_set_of_the_recipe_is_not_written_over(data):
    before = (data / "eval" / "utt2spk").read_text()
    with pytest.raises(SdpnError, match=r"eval is a set of the recipe, whose files would be overwritten"):
        run(data / "eval", data / "eval")
    assert (data / "eval" / "utt2spk").read_text() == before
