"""VoxCeleb in the layout of its archives, from synthesized voices."""

import shutil

import pytest
import voxceleb

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.trials.lists import Trial, read_trials
from tests.corpus.conftest import encode, needs_ffmpeg, program, rows, times, write_voice

TEST, DEV = ("id10270", "id10271"), ("id10001", "id10002")


def trials(enroll: str, target: str, impostor: str) -> str:
    return f"1 {enroll}.wav {target}.wav\n0 {enroll}.wav {impostor}.wav\n"


LISTS = {
    "veri_test2.txt": trials("id10270/vidA/00001", "id10270/vidB/00001", "id10271/vidA/00001"),
    "list_test_all2.txt": trials("id10001/vidA/00001", "id10001/vidB/00001", "id10271/vidA/00001"),
    "list_test_hard2.txt": trials("id10002/vidA/00001", "id10002/vidB/00001", "id10001/vidA/00001"),
    "veri_test.txt": trials("id10270/vidA/00001", "id10270/vidB/00002", "id10271/vidA/00001"),
}


def write_part(folder, speakers, extension="wav") -> None:
    for number, speaker in enumerate(speakers):
        for video, utterance in (("vidA", 1), ("vidB", 1), ("vidB", 2)):
            path = folder / speaker / video / f"{utterance:05d}.{extension}"
            write_voice(path, int(speaker[2:]) + number, utterance + 10 * (video == "vidB"), 2.1 + 0.1 * utterance)


@pytest.fixture(scope="module")
def vox(tmp_path_factory):
    """VoxCeleb1 in two parts with the lists in it, VoxCeleb2 dev and test as wav."""
    root = tmp_path_factory.mktemp("vox")
    write_part(root / "vox1" / "dev" / "wav", DEV)
    write_part(root / "vox1" / "test" / "wav", TEST)
    write_part(root / "vox2" / "dev" / "wav", ["id00012", "id00015"])
    write_part(root / "vox2" / "test" / "wav", ["id00017"])
    for name, text in LISTS.items():
        (root / "vox1" / name).write_text(text)
    return root


@pytest.fixture
def corpora(vox, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(vox, tmp_path / "vox")


@pytest.fixture
def prepare(clips, tmp_path):
    run = program("prepare_voxceleb")
    return lambda root, *words: run(
        "--voxceleb1", root / "vox1", "--voxceleb2", root / "vox2", *clips, *words, tmp_path / "data"
    )


def ids(data, name: str) -> set[str]:
    return {row["id"] for row in rows(data / name / "recordings.jsonl.gz")}


def test_voxceleb2_dev_is_trained_on_and_what_the_trials_name_is_evaluated(prepare, vox, tmp_path, capsys):
    prepare(vox)
    train = ids(tmp_path / "data", "train")
    assert {id[:7] for id in train} == {"id00012", "id00015"}
    assert len(train) == 6
    assert "id10270-vidB-00002" in ids(tmp_path / "data", "eval")  # the original list alone names it
    assert "id10271-vidB-00001" not in ids(tmp_path / "data", "eval")  # no list names it
    said = capsys.readouterr().out
    assert "3 files of VoxCeleb2's test part are left out" in said
    assert "2 of the 5994 speakers of VoxCeleb2's dev part are there" in said


def test_cleaned_and_original_lists_have_names_of_their_own(prepare, vox, tmp_path):
    prepare(vox)
    held = Corpus.read(tmp_path / "data")
    assert held.trials == dict.fromkeys(
        ["vox1_O_cleaned", "vox1_E_cleaned", "vox1_H_cleaned", "vox1_O_original"], "eval"
    )
    folder = tmp_path / "data" / "trials"
    first = Trial("id10270-vidA-00001", "id10270-vidB-00001", True)
    assert read_trials(folder / "vox1_O_cleaned.txt")[0] == first
    assert read_trials(folder / "vox1_O_original.txt")[0] == first._replace(test="id10270-vidB-00002")


def test_the_training_cuts_have_no_labels_and_the_evaluation_has(prepare, make_cuts, vox, tmp_path):
    prepare(vox)
    make_cuts("--min-duration", 2, tmp_path / "data")
    for cut in rows(tmp_path / "data" / "train" / "cuts.jsonl.gz"):
        (heard,) = cut["supervisions"]
        assert heard.keys() == {"id", "recording_id", "start", "duration", "channel"}
    oracle = (tmp_path / "data" / "train" / "utt2spk.oracle").read_text()
    assert oracle.startswith("id00012-vidA-00001 id00012\n")
    assert "id10001-vidA-00001 id10001\n" in (tmp_path / "data" / "eval" / "utt2spk").read_text()


def test_ids_speakers_genders_and_lengths_are_those_of_lhotses_recipe(prepare, corpora, tmp_path):
    from lhotse.recipes.voxceleb import prepare_voxceleb

    write_meta(corpora)
    shutil.rmtree(corpora / "vox2" / "test")  # the recipe takes both parts
    prepare(corpora)
    for path in sorted((corpora / "vox2").rglob("*.wav")):
        path.rename(path.with_suffix(".m4a"))  # the recipe looks for nothing else, and libsndfile goes by the content
    theirs = prepare_voxceleb(voxceleb2_root=corpora / "vox2")["train"]
    ours = {row["id"]: row for row in rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")}
    assert ours.keys() == {segment.id for segment in theirs["supervisions"]}
    for segment in theirs["supervisions"]:
        row = ours[segment.id]
        assert (row["speaker"], row["gender"], row["duration"]) == (segment.speaker, segment.gender, segment.duration)
    samples = {row["id"]: row["num_samples"] for row in rows(tmp_path / "data" / "train" / "recordings.jsonl.gz")}
    assert samples == {recording.id: recording.num_samples for recording in theirs["recordings"]}


def write_meta(root) -> None:
    """As the files of the corpus are: tabs in the one, blanks and commas in the other."""
    lines = [f"{id}\tSome_Body\tf\tUK\t{part}" for part, own in (("dev", DEV), ("test", TEST)) for id in own]
    (root / "vox1" / "vox1_meta.csv").write_text(
        "\n".join(["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet", *lines])
    )
    rows = ["id00012 ,n000012 ,m ,dev ", "id00015 ,n000015 ,f ,dev ", "id00017 ,n000017 ,f ,test "]
    (root / "vox2" / "vox2_meta.csv").write_text("\r\n".join(["VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set ", *rows, ""]))


def test_parts_that_were_put_together_are_told_apart_by_the_list_of_speakers(prepare, corpora, tmp_path):
    write_meta(corpora)
    shutil.move(corpora / "vox2" / "test" / "wav" / "id00017", corpora / "vox2" / "dev" / "wav" / "id00017")
    prepare(corpora)
    genders = {row["speaker"]: row["gender"] for row in rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")}
    assert genders == {"id00012": "m", "id00015": "f"}


def test_more_speakers_than_voxceleb2_dev_has_are_an_error(prepare, corpora, monkeypatch):
    monkeypatch.setattr(voxceleb, "DEV_SPEAKERS", 2)
    shutil.move(corpora / "vox2" / "test" / "wav" / "id00017", corpora / "vox2" / "dev" / "wav" / "id00017")
    with pytest.raises(SdpnError, match=r"has 3 speakers where VoxCeleb2's dev part has 2: .*vox2_meta.csv"):
        prepare(corpora)


@needs_ffmpeg
def test_voxceleb2_in_m4a_goes_through_to_samples(prepare, make_cuts, corpora, tmp_path):
    from lhotse import CutSet

    from sdpn.features.audio import load_samples

    for wav in sorted((corpora / "vox2" / "dev" / "wav").rglob("*.wav")):
        path = corpora / "vox2" / "dev" / "aac" / wav.relative_to(corpora / "vox2" / "dev" / "wav").with_suffix(".m4a")
        path.parent.mkdir(parents=True, exist_ok=True)
        encode(wav, path)
    shutil.rmtree(corpora / "vox2" / "dev" / "wav")
    prepare(corpora)
    make_cuts(tmp_path / "data")
    cuts = list(CutSet.from_jsonl_lazy(tmp_path / "data" / "train" / "cuts.jsonl.gz"))
    assert len(cuts) == 6
    for cut in cuts:
        assert cut.recording.sources[0].source.endswith(".m4a")
        assert load_samples(cut).shape == (cut.num_samples,)


def test_m4a_without_ffmpeg_is_said_before_any_work(prepare, corpora, tmp_path, monkeypatch):
    for path in sorted((corpora / "vox2").rglob("*.wav")):
        path.rename(path.with_suffix(".m4a"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sdpn.audio.decoders.ffmpeg.library", lambda: None)
    with pytest.raises(SdpnError, match=r"ffmpeg is not installed: it is needed for 6 files below"):
        prepare(corpora)
    assert not (tmp_path / "data" / "train").exists()


def test_the_wrong_version_of_a_list_is_an_error(prepare, corpora, monkeypatch):
    other = voxceleb.OfficialList("veri_test2.txt", 99, 2)
    monkeypatch.setitem(voxceleb.LISTS, "vox1_O_cleaned", other)
    with pytest.raises(
        SdpnError, match=r"veri_test2.txt has 2 trials, which is the other version of the list than vox1_O"
    ):
        prepare(corpora)


def test_utterances_that_are_not_there_are_all_listed_once(prepare, corpora, tmp_path):
    shutil.rmtree(corpora / "vox1" / "dev" / "wav" / "id10001")
    with pytest.raises(SdpnError) as error:
        prepare(corpora)
    assert "vox1_E_cleaned (list_test_all2.txt): 2 of its 3 names are no usable utterances" in str(error.value)
    listed = (tmp_path / "data" / "trials" / "vox1_E_cleaned.missing.txt").read_text().split()
    assert listed == ["id10001/vidA/00001.wav", "id10001/vidB/00001.wav"]
    assert not (tmp_path / "data" / "corpus.json").exists()


def test_the_test_part_alone_serves_for_the_list_o(prepare, corpora, tmp_path):
    shutil.rmtree(corpora / "vox1" / "dev")
    prepare(corpora, "--voxceleb-trials", "O")
    assert {id[:7] for id in ids(tmp_path / "data", "eval")} == set(TEST)


def test_a_missing_list_says_where_it_is_to_be_had(prepare, corpora):
    (corpora / "vox1" / "list_test_hard2.txt").unlink()
    with pytest.raises(SdpnError, match=r"there is no list_test_hard2.txt in .*--download fetches it"):
        prepare(corpora)
    with pytest.raises(SdpnError, match=r"--voxceleb-trials is 'O,X'; allowed: O, E, H"):
        prepare(corpora, "--voxceleb-trials", "O,X")


def test_a_missing_corpus_says_how_to_get_it(prepare, corpora):
    shutil.rmtree(corpora / "vox2")
    with pytest.raises(SdpnError, match=r"vox2: there is no such folder; to get VoxCeleb, its form of request is at"):
        prepare(corpora)


def test_another_layout_says_which_is_expected(prepare, corpora):
    shutil.rmtree(corpora / "vox2")
    write_voice(corpora / "vox2" / "ann" / "1.wav", 1, 1)
    with pytest.raises(SdpnError, match=r"no audio like id10001/VIDEO/00001.wav in it: e.g. ann/1.wav"):
        prepare(corpora)


def test_the_test_part_alone_is_not_trained_on(prepare, corpora):
    shutil.rmtree(corpora / "vox2" / "dev")
    with pytest.raises(
        SdpnError, match=r"no audio like id10001/VIDEO/00001.wav in it: 3 audio files are of another part"
    ):
        prepare(corpora)


def test_two_files_with_one_id_are_an_error(prepare, corpora):
    shutil.copytree(corpora / "vox2" / "dev" / "wav" / "id00012", corpora / "vox2" / "more" / "wav" / "id00012")
    with pytest.raises(
        SdpnError, match=r"train: 3 ids are used twice, e.g. id00012-vidA-00001 for .*dev.* and for .*more"
    ):
        prepare(corpora)


def test_a_speaker_both_trained_on_and_evaluated_is_an_error(prepare, corpora):
    shutil.copytree(corpora / "vox1" / "test" / "wav" / "id10270", corpora / "vox2" / "dev" / "wav" / "id10270")
    with pytest.raises(SdpnError, match=r"1 speaker is both in train and in eval: id10270"):
        prepare(corpora)


def test_names_of_voxsrc_and_of_a_link_loop_are_understood(prepare, corpora, tmp_path):
    (corpora / "vox2" / "dev" / "wav" / "id00012" / "again").symlink_to(corpora / "vox2")
    text = LISTS["veri_test2.txt"].replace(" id1", " voxceleb1/id1")
    (corpora / "vox1" / "veri_test2.txt").write_text(text.replace("\n", "\r\n"))
    prepare(corpora)
    assert read_trials(tmp_path / "data" / "trials" / "vox1_O_cleaned.txt")[0].enroll == "id10270-vidA-00001"
    assert len(ids(tmp_path / "data", "train")) == 6


def test_dev_speakers_are_held_out_of_the_training_speakers(prepare, corpora, tmp_path):
    write_part(corpora / "vox2" / "dev" / "wav", ["id00018", "id00019"])
    prepare(corpora, "--dev-speakers", 2)
    held = Corpus.read(tmp_path / "data")
    assert held.evals == ["eval", "dev"]
    assert held.trials["dev"] == "dev"
    assert len({id[:7] for id in ids(tmp_path / "data", "train")}) == 2


def test_a_rerun_does_no_work_and_reads_no_header_again(prepare, vox, tmp_path, monkeypatch, capsys):
    prepare(vox)
    before = times(tmp_path / "data")
    prepare(vox)
    assert times(tmp_path / "data") == before
    assert "the corpus 'voxceleb' is there: nothing to do" in capsys.readouterr().out
    (tmp_path / "data" / "done" / "voxceleb.json").unlink()  # as if it had been killed at the end

    def never(path):
        raise AssertionError(path)

    monkeypatch.setattr("sdpn.audio.headers.read_header", never)
    prepare(vox)


def test_speakers_lists_of_another_form_are_a_sentence(tmp_path):
    (tmp_path / "meta.csv").write_text("VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n1 ,x ,dev \n")
    with pytest.raises(SdpnError, match=r"meta.csv, line 2: expected"):
        voxceleb.Meta.read(tmp_path / "meta.csv")


def test_a_copy_with_white_space_in_its_name_is_skipped(prepare, corpora, tmp_path):
    folder = corpora / "vox2" / "dev" / "wav" / "id00012" / "vidA"
    shutil.copy(folder / "00001.wav", folder / "00001 (1).wav")
    prepare(corpora, "--max-skipped", 0.2)
    assert len(ids(tmp_path / "data", "train")) == 6
    listed = (tmp_path / "data" / "train" / "skipped_files.tsv").read_text()
    assert listed.endswith(
        "00001 (1).wav\tits path does not end in idNNNNN/video/utterance, or has white space in it\n"
    )


def test_lists_of_ones_own_name_utterances_by_ids_or_by_paths(prepare, vox, tmp_path):
    (tmp_path / "own.txt").write_text(
        "id10270-vidB-00002 id10270/vidA/00001 target\nid10270-vidB-00002 wav/id10271/vidB/00002.wav nontarget\n"
    )
    prepare(vox, "--trials", tmp_path / "own.txt")
    assert list(read_trials(tmp_path / "data" / "trials" / "own.txt")) == [
        Trial("id10270-vidB-00002", "id10270-vidA-00001", True),
        Trial("id10270-vidB-00002", "id10271-vidB-00002", False),
    ]


def test_a_list_of_ones_own_never_takes_the_place_of_an_official_one(prepare, vox, tmp_path):
    (tmp_path / "vox1_O_cleaned.txt").write_text(LISTS["list_test_all2.txt"])
    with pytest.raises(SdpnError, match=r"a list of the corpus itself is called vox1_O_cleaned: rename the file"):
        prepare(vox, "--trials", tmp_path / "vox1_O_cleaned.txt")


def test_a_list_of_ones_own_with_an_enrollment_map_is_one_more(prepare, vox, tmp_path):
    (tmp_path / "VoxSRC.val.txt").write_text(
        "1 Ann voxceleb1/id10270/vidB/00002.wav\n0 Ann voxceleb1/id10271/vidB/00002.wav\n"
    )
    (tmp_path / "map").write_text("Ann id10270/vidA/00001.wav id10270/vidB/00001.wav\n")
    own = ["--trials", tmp_path / "VoxSRC.val.txt", "--enroll-map", tmp_path / "map"]
    with pytest.raises(SdpnError, match=r"--voxceleb-trials is none, and there is no other trial list"):
        prepare(vox, "--voxceleb-trials", "none")
    prepare(vox, "--voxceleb-trials", "none", *own)
    assert Corpus.read(tmp_path / "data").trials == {"VoxSRC": "eval"}
    models = (tmp_path / "data" / "trials" / "VoxSRC.enroll.map").read_text()
    assert models == "Ann id10270-vidA-00001 id10270-vidB-00001\n"
    assert "id10271-vidB-00002" in ids(tmp_path / "data", "eval")
