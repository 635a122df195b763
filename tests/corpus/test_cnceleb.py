"""CN-Celeb 1 and 2 in the layout of their archives, from synthesized voices."""

import shutil

import pytest

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.trials.lists import Trial, read_enroll_map, read_trials
from tests.corpus.conftest import program, rows, write_voice

DEV, EVAL, SECOND = ("id00000", "id00001"), ("id00800", "id00801"), ("id10000", "id10001")
UTTERANCES = ("singing-01-001", "singing-01-002", "vlog-02-001")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    root = tmp_path_factory.mktemp("cnceleb")
    first, second = root / "CN-Celeb_flac", root / "CN-Celeb2_flac"
    for folder, speakers in ((first, (*DEV, *EVAL)), (second, SECOND)):
        for speaker in speakers:
            for number, name in enumerate(UTTERANCES):
                write_voice(folder / "data" / speaker / f"{name}.flac", int(speaker[2:]), number, 1.1)
    lists = first / "eval" / "lists"
    lists.mkdir(parents=True)
    (first / "dev").mkdir()
    (first / "dev" / "dev.lst").write_text("".join(f"{speaker}\n" for speaker in DEV))
    (second / "spk.lst").write_text("".join(f"{speaker}\n" for speaker in SECOND))
    trials, models, joined = [], [], []
    for number, speaker in enumerate(EVAL):
        write_voice(first / "eval" / "enroll" / f"{speaker}-enroll.flac", 800 + number, 7, 2.0)
        write_voice(first / "eval" / "test" / f"{speaker}-vlog-02-001.flac", 800 + number, 2, 1.1)
        models.append(f"{speaker}-enroll {speaker}/singing-01-001.wav {speaker}/singing-01-002.wav\n")
        joined.append(f"{speaker}-enroll enroll/{speaker}-enroll.wav\n")
        trials += [f"{speaker}-enroll test/{other}-vlog-02-001.wav {int(other == speaker)}\n" for other in EVAL]
    (lists / "trials.lst").write_text("".join(trials))
    (lists / "enroll.map").write_text("".join(models))
    (lists / "enroll.lst").write_text("".join(joined))
    (lists / "test.lst").write_text("")
    return root


@pytest.fixture
def corpora(archives, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(archives, tmp_path / "cnceleb")


@pytest.fixture
def prepare(clips, tmp_path):
    run = program("prepare_cnceleb")
    return lambda root, *words: run(
        *(
            "--cnceleb1",
            root / "CN-Celeb_flac",
            "--cnceleb2",
            root / "CN-Celeb2_flac",
            *clips,
            *words,
            tmp_path / "data",
        )
    )


def test_dev_speakers_of_the_first_and_all_of_the_second_are_trained_on(prepare, archives, tmp_path):
    prepare(archives)
    train = rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")
    assert {row["speaker"] for row in train} == {*DEV, *SECOND}
    first = train[0]
    assert (first["id"], first["custom"]) == ("id00000-singing-01-001", {"session": "id00000-singing-01"})
    assert len(train) == 12


def test_several_utterances_make_one_enrolled_model(prepare, archives, tmp_path):
    prepare(archives)
    assert Corpus.read(tmp_path / "data").trials == {"cnceleb": "eval", "cnceleb_joined": "eval"}
    folder = tmp_path / "data" / "trials"
    assert list(read_trials(folder / "cnceleb.txt"))[:2] == [
        Trial("id00800-enroll", "id00800-test-vlog-02-001", True),
        Trial("id00800-enroll", "id00801-test-vlog-02-001", False),
    ]
    models = read_enroll_map(folder / "cnceleb.enroll.map")
    assert models["id00801-enroll"] == ["id00801-enroll-singing-01-001", "id00801-enroll-singing-01-002"]
    known = {row["id"] for row in rows(tmp_path / "data" / "eval" / "recordings.jsonl.gz")}
    assert {name for names in models.values() for name in names} <= known
    assert len(known) == 2 + 2 + 4


def test_joined_recordings_have_a_trial_list_of_their_own(prepare, archives, tmp_path):
    prepare(archives)
    folder = tmp_path / "data" / "trials"
    assert read_trials(folder / "cnceleb_joined.txt")[0] == Trial("id00800-joined", "id00800-test-vlog-02-001", True)
    assert not (folder / "cnceleb_joined.enroll.map").exists()


def test_a_map_that_names_models_by_speaker_is_understood(prepare, corpora, tmp_path):
    path = corpora / "CN-Celeb_flac" / "eval" / "lists" / "enroll.map"
    path.write_text(path.read_text().replace("-enroll ", " "))
    prepare(corpora)
    assert "id00800-enroll" in read_enroll_map(tmp_path / "data" / "trials" / "cnceleb.enroll.map")


def test_without_dev_lst_whoever_is_not_evaluated_is_trained_on(prepare, corpora, tmp_path, capsys):
    (corpora / "CN-Celeb_flac" / "dev" / "dev.lst").unlink()
    prepare(corpora)
    assert "there is no dev/dev.lst" in capsys.readouterr().out
    train = rows(tmp_path / "data" / "train" / "supervisions.jsonl.gz")
    assert {row["speaker"] for row in train} == {*DEV, *SECOND}


def test_dev_speakers_of_whom_there_is_no_file_are_a_sentence(prepare, corpora):
    (corpora / "CN-Celeb_flac" / "dev" / "dev.lst").write_text("id00999\n")
    with pytest.raises(SdpnError, match=r"no audio file of its part in it: 12 audio files are of another part"):
        prepare(corpora)


def test_an_evaluated_speaker_among_the_dev_speakers_is_an_error(prepare, corpora):
    (corpora / "CN-Celeb_flac" / "dev" / "dev.lst").write_text("id00000\nid00800\n")
    with pytest.raises(SdpnError, match=r"1 speaker is both in train and in eval: id00800"):
        prepare(corpora)


def test_a_missing_test_and_a_missing_enrollment_are_listed(prepare, corpora, tmp_path):
    (corpora / "CN-Celeb_flac" / "eval" / "test" / "id00801-vlog-02-001.flac").unlink()
    (corpora / "CN-Celeb_flac" / "data" / "id00800" / "singing-01-002.flac").unlink()
    with pytest.raises(SdpnError, match=r"cnceleb \(.*/lists\): 2 of its 4 names are no usable utterances"):
        prepare(corpora)
    listed = (tmp_path / "data" / "trials" / "cnceleb.missing.txt").read_text().split()
    assert listed == ["data/id00800/singing-01-002", "test/id00801-vlog-02-001"]


def test_the_first_corpus_alone_serves_and_none_says_where_it_is(clips, archives, tmp_path):
    run = program("prepare_cnceleb")
    run("--cnceleb1", archives, *clips, tmp_path / "data")  # the folder above the archive's
    assert len(rows(tmp_path / "data" / "train" / "recordings.jsonl.gz")) == 6
    with pytest.raises(SdpnError, match=r"--cnceleb1 is not given: it is at https://www.openslr.org/82/"):
        run(*clips, tmp_path / "other")
    with pytest.raises(SdpnError, match=r"is not CN-Celeb1 as its archive unpacks"):
        run("--cnceleb1", archives / "CN-Celeb2_flac", *clips, tmp_path / "other")


def test_missing_lists_are_a_sentence(prepare, corpora):
    for name in ("enroll.map", "enroll.lst"):
        (corpora / "CN-Celeb_flac" / "eval" / "lists" / name).unlink()
    with pytest.raises(SdpnError, match=r"neither enroll.map nor enroll.lst"):
        prepare(corpora)
    shutil.rmtree(corpora / "CN-Celeb_flac" / "eval" / "lists")
    with pytest.raises(SdpnError, match=r"eval/lists is missing"):
        prepare(corpora)


def test_a_list_of_ones_own_is_one_more(prepare, archives, tmp_path):
    (tmp_path / "own.txt").write_text(
        "Eve test/id00801-vlog-02-001.flac target\nEve test/id00800-vlog-02-001 nontarget\n"
    )
    (tmp_path / "map").write_text("Eve data/id00801/singing-01-001.flac id00801/vlog-02-001.wav\n")
    prepare(archives, "--trials", tmp_path / "own.txt", "--enroll-map", tmp_path / "map")
    assert list(Corpus.read(tmp_path / "data").trials) == ["cnceleb", "cnceleb_joined", "own"]
    models = read_enroll_map(tmp_path / "data" / "trials" / "own.enroll.map")
    assert models == {"Eve": ["id00801-enroll-singing-01-001", "id00801-enroll-vlog-02-001"]}


def test_a_list_of_ones_own_may_have_the_models_of_the_corpus(prepare, archives, tmp_path):
    own = archives / "CN-Celeb_flac" / "eval" / "lists" / "trials.lst"
    (tmp_path / "own.lst").write_text(own.read_text())
    prepare(archives, "--trials", tmp_path / "own.lst")
    folder = tmp_path / "data" / "trials"
    for end in ("txt", "enroll.map"):
        assert (folder / f"own.{end}").read_text() == (folder / f"cnceleb.{end}").read_text()


def test_what_a_list_of_ones_own_names_wrongly_is_said_of_it(prepare, archives, tmp_path):
    (tmp_path / "own.lst").write_text("id00800-enroll test/id00800-vlog-02-001.wav 1\nid00800-enroll test/x.wav 0\n")
    with pytest.raises(SdpnError, match=r"own.lst: 1 of its 4 names are no usable utterances .*: test/x.wav; "):
        prepare(archives, "--trials", tmp_path / "own.lst")
    (tmp_path / "cnceleb.txt").write_text((tmp_path / "own.lst").read_text())
    with pytest.raises(SdpnError, match=r"a list of the corpus itself is called cnceleb: rename the file"):
        prepare(archives, "--trials", tmp_path / "cnceleb.txt")
