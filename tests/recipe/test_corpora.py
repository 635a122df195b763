"""run.sh on corpora laid out as the real ones are: stages 0 and 1 with the options that the README gives."""

import json
import shutil
import subprocess

import pytest

from sdpn.corpus.layout import Corpus
from tests.corpus.conftest import rows, write_audio, write_voice
from tests.recipe.conftest import ROOT


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    for part, speakers in (("vox1/wav", ("id10270", "id10271")), ("vox2/dev/wav", ("id00012", "id00015"))):
        for speaker in speakers:
            for video in ("vidA", "vidB"):
                write_voice(root / part / speaker / video / "00001.wav", int(speaker[2:]), len(video), 2.2)
    pair = "id10270/vidA/00001.wav"
    for name in ("veri_test2.txt", "list_test_all2.txt", "list_test_hard2.txt"):
        (root / "vox1" / name).write_text(f"1 {pair} id10270/vidB/00001.wav\n0 {pair} id10271/vidA/00001.wav\n")
    for part in ("noise", "music", "speech"):
        write_audio(root / "musan" / part / "x" / f"{part}.wav", 0.3)
    for part in ("simulated_rirs/smallroom", "simulated_rirs/mediumroom", "real_rirs_isotropic_noises"):
        write_audio(root / "RIRS_NOISES" / part / "x_rir.wav", 0.3)
    data = root / "kaldi"
    data.mkdir()
    files = sorted((root / "vox2").rglob("*.wav")) + sorted((root / "vox1").rglob("*.wav"))
    (data / "wav.scp").write_text("".join(f"{path.parts[-3]}-{path.parts[-2]} {path}\n" for path in files))
    (data / "utt2spk").write_text("".join(f"{path.parts[-3]}-{path.parts[-2]} {path.parts[-3]}\n" for path in files))
    return root


def run(data, *words, status: int = 0) -> str:
    command = [ROOT / "run.sh", "--stop-stage", "1", "--data-dir", data, "--nj", "2", *words]
    done = subprocess.run([str(word) for word in command], cwd=data.parent, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_voxceleb_with_musan_and_rirs_noises(corpora, tmp_path):
    shutil.copytree(corpora, tmp_path / "c")
    folders = ["--voxceleb1", "c/vox1", "--voxceleb2", "c/vox2", "--musan", "c/musan", "--rirs=c/RIRS_NOISES"]
    run(tmp_path / "data", "--corpus", "voxceleb", *folders)
    held = Corpus.read(tmp_path / "data")
    assert list(held.trials) == ["vox1_O_cleaned", "vox1_E_cleaned", "vox1_H_cleaned"]
    assert held.sets == ["train", "eval", "noise", "music", "rir", "talkers"]
    for name in held.sets:
        assert rows(tmp_path / "data" / name / "cuts.jsonl.gz")
    report = json.loads((tmp_path / "data" / "train" / "done" / "cuts.json").read_text())["report"]
    assert report["cuts"] == 4
    assert "nothing to do" in run(tmp_path / "data", "--corpus", "voxceleb", *folders)
    said = run(tmp_path / "data", "--corpus", "voxceleb", *folders[:-1], "--voxceleb2", "c/vox1", status=1)
    assert f"already holds the same corpus with voxceleb2 {tmp_path}/c/vox2" in said


def test_a_data_directory_of_kaldi(corpora, tmp_path):
    clips = ["--noise-dir", corpora / "musan/noise", "--music-dir", corpora / "musan/music"]
    words = ["--corpus", "kaldi", "--train", corpora / "kaldi", *clips, "--rir-dir", corpora / "RIRS_NOISES"]
    said = run(tmp_path / "data", *words, "--min-duration", "2.3", status=1)
    assert "train: none of its utterances can be used: 4 shorter than 2.3 s" in said
    run(tmp_path / "data", *words)
    assert len(rows(tmp_path / "data" / "train" / "cuts.jsonl.gz")) == 4


def test_a_corpus_that_is_there_need_not_be_named_again(tmp_path):
    for speaker in ("ann", "bob", "cyd"):
        write_voice(tmp_path / "calls" / speaker / "1.wav", len(speaker), 1, 2.0)
    words = ["--corpus", "folder", "--corpus-dir", "calls", "--unlabelled", "--dev-speakers", "0"]
    run(tmp_path / "data", *words)
    assert Corpus.read(tmp_path / "data").evals == []
    said = run(tmp_path / "data")
    assert "as --unlabelled says" in said
    assert "the corpus 'folder' is there: nothing to do" in said
    write_voice(tmp_path / "calls" / "dan.wav", 4, 1, 2.0)
    assert "files changed" in run(tmp_path / "data")
    assert len(rows(tmp_path / "data" / "train" / "cuts.jsonl.gz")) == 4
    said = run(tmp_path / "data", "--labelled", status=1)
    assert "already holds the same corpus with labelled False" in said
    said = run(tmp_path / "data", "--dev-speakers", "2", status=1)
    assert "already holds the same corpus with dev_speakers 0" in said


def test_trials_out_of_a_pipe_are_those_of_a_kaldi_directory(corpora, tmp_path):
    pair = "id10270-vidA id10270-vidB target"
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all").write_text(f"{pair}\nid10270-vidA id10271-vidA nontarget\nnobody noone nontarget\n")
    run_sh = f"'{ROOT}/run.sh' --stop-stage 0 --data-dir data --nj 2 --corpus kaldi --train '{corpora}/kaldi'"
    command = ["bash", "-c", f"{run_sh} --trials <(grep -v nobody lists/all)"]
    for _ in range(2):  # the second time it finds everything done
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to do" in done.stdout
    assert (tmp_path / "data" / "trials" / "eval.txt").read_text().splitlines()[0] == pair


def test_an_unfinished_corpus_is_not_taken_for_the_toy(tmp_path):
    (tmp_path / "data" / "headers").mkdir(parents=True)
    assert "give --corpus and its options once more" in run(tmp_path / "data", status=1)


def test_trials_of_several_sets_of_kaldi_need_not_be_named_again(corpora, tmp_path):
    shutil.copytree(corpora, tmp_path / "c")
    first, second = sorted((tmp_path / "c" / "vox1").rglob("*.wav"))[0::2]
    for name in ("one", "two"):
        folder = tmp_path / "c" / name
        folder.mkdir()
        voices = {f"{name}-a1": first, f"{name}-a2": first, f"{name}-b1": second}
        (folder / "wav.scp").write_text("".join(f"{id} {path}\n" for id, path in voices.items()))
        (folder / "utt2spk").write_text("".join(f"{id} {id[:-1]}\n" for id in voices))
        (folder / "trials").write_text(f"{name}-a1 {name}-a2 target\n{name}-a1 {name}-b1 nontarget\n")
    words = ["--corpus", "kaldi", "--train", "c/kaldi", "--eval", "c/one,c/two"]
    words += ["--noise-dir", "c/musan/noise", "--music-dir", "c/musan/music", "--rir-dir", "c/RIRS_NOISES"]
    run(tmp_path / "data", *words)
    for again in ([], words):
        assert "the corpus 'kaldi' is there: nothing to do" in run(tmp_path / "data", *again)
    (tmp_path / "c" / "two" / "trials").write_text("two-a2 two-a1 target\ntwo-a1 two-b1 nontarget\n")
    assert "trials changed" in run(tmp_path / "data")
    assert (tmp_path / "data" / "trials" / "eval_two.txt").read_text().startswith("two-a2 two-a1 ")
