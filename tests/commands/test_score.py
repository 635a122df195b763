"""`sdpn score` on x-vectors that no recipe made."""

import subprocess
import sys

import click
import numpy as np
import pytest

from sdpn.backend.cosine import Cosine
from sdpn.commands.score import score
from sdpn.errors import SdpnError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """train.npz with utt2spk, eval.npz, trials with and without labels, models of two utterances."""
    rng = np.random.default_rng(0)

    def write(name, prefix, n_speakers, per_speaker):
        own = np.repeat(np.arange(n_speakers), per_speaker)
        vectors = np.hstack([rng.normal(size=(n_speakers, 6))[own], np.zeros((len(own), 4))])
        vectors = vectors + 0.6 * rng.normal(size=vectors.shape) + 1
        ids = [f"{prefix}{speaker:02d}-{i % per_speaker}" for i, speaker in enumerate(own)]
        np.savez(name, ids=np.array(ids), vectors=vectors)
        return ids

    monkeypatch.chdir(tmp_path)
    train = write("train.npz", "tr", 30, 6)
    (tmp_path / "utt2spk").write_text("".join(f"{name} {name[:4]}\n" for name in train))
    ids = write("eval.npz", "ev", 8, 4)
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[i + 1 :]]
    labels = ["target" if a[:4] == b[:4] else "nontarget" for a, b in pairs]
    (tmp_path / "trials").write_text("".join(f"{a} {b} {label}\n" for (a, b), label in zip(pairs, labels, strict=True)))
    (tmp_path / "pairs").write_text("".join(f"{a} {b}\n" for a, b in pairs))
    (tmp_path / "models").write_text("".join(f"m{s} ev{s:02d}-0 ev{s:02d}-1\n" for s in range(8)))
    lines = [f"m{s} ev{t:02d}-3 {'target' if s == t else 'nontarget'}\n" for s in range(8) for t in range(8)]
    (tmp_path / "model_trials").write_text("".join(lines))
    return tmp_path


def run(*options, trials="trials"):
    fixed = ["--trials", trials, "--xvectors", "eval.npz"]
    score.main([*fixed, *options], standalone_mode=False)


def read(path):
    rows = [line.split() for line in path.read_text().splitlines()]
    return [row[:2] for row in rows], np.array([float(row[2]) for row in rows])


LDA_PLDA = ("--train", "train.npz", "--backend", "mean-subtract | lda 6 | length-norm | plda")


def test_cosine_scores_are_those_of_the_definition_in_kaldis_form(folder, capsys):
    run("--out", "scores")
    pairs, scores = read(folder / "scores")
    assert [" ".join(pair) for pair in pairs] == (folder / "pairs").read_text().splitlines()
    data = np.load("eval.npz")
    place = {name: row for row, name in enumerate(data["ids"])}
    vectors = data["vectors"].astype(np.float32).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, [vectors[place[a]] @ vectors[place[b]] for a, b in pairs], atol=1e-12)
    assert "EER %" in capsys.readouterr().out


def test_trials_without_labels_are_scored_and_no_error_rate_is_made_up(folder, capsys):
    run("--out", "scores", trials="pairs")
    assert len(read(folder / "scores")[1]) == 496
    assert "EER" not in capsys.readouterr().out


def test_plda_learns_from_speakers_where_they_are_given_and_from_clusters_else(folder, capsys):
    run(*LDA_PLDA, "--utt2spk", "utt2spk", "--out", "by_speakers")
    assert "pseudo-speakers" not in capsys.readouterr().out
    run(*LDA_PLDA, "--out", "by_clusters")
    assert "pseudo-speakers" in capsys.readouterr().out
    assert (folder / "by_speakers").read_text() != (folder / "by_clusters").read_text()


@pytest.mark.parametrize("norm", ["z", "t", "s", "as", "as2"])
def test_scores_are_normalized_against_a_sample_or_a_cohort_of_ones_own(folder, capsys, norm):
    run("--train", "train.npz", "--score-norm", norm, "--top-n", "20", "--out", "a")
    run("--cohort", "train.npz", "--score-norm", norm, "--top-n", "20", "--out", "b")
    np.testing.assert_allclose(read(folder / "a")[1], read(folder / "b")[1])
    run("--cohort", "train.npz", "--score-norm", norm, "--out", "c")
    lowered = "top_n lowered from 300 to 180" in capsys.readouterr().out
    assert lowered == norm.startswith("as")


def test_a_saved_back_end_and_a_kaldi_plda_score_the_same(folder):
    run(*LDA_PLDA, "--clusters", "30", "--out", "a", "--save-backend", "chain.h5", "--save-plda", "plda")
    run("--backend", "chain.h5", "--out", "b")
    run(*LDA_PLDA, "--plda", "plda", "--utt2spk", "utt2spk", "--out", "c")
    run("--backend", "chain.h5", "--plda", "plda", "--out", "d")
    assert (folder / "a").read_text() == (folder / "b").read_text() == (folder / "d").read_text()
    assert (folder / "c").read_text() != (folder / "a").read_text()  # its LDA learned from other classes


def test_models_of_several_utterances(folder):
    run("--models", "models", "--out", "scores", trials="model_trials")
    data = np.load("eval.npz")
    place = {name: row for row, name in enumerate(data["ids"])}
    unit = data["vectors"] / np.linalg.norm(data["vectors"], axis=1, keepdims=True)
    for (model, test), found in zip(*read(folder / "scores"), strict=True):
        mean = sum(unit[place[f"ev{int(model[1:]):02d}-{i}"]] for i in (0, 1))
        assert found == pytest.approx(mean @ unit[place[test]] / np.linalg.norm(mean), abs=1e-6)


def test_a_chain_file_is_a_back_end(folder):
    (folder / "mine.yaml").write_text("chain: mean-subtract | length-norm | cosine\n")
    run("--backend", "mine.yaml", "--train", "train.npz", "--out", "a")
    run("--backend", "mean-subtract | cosine", "--train", "train.npz", "--out", "b")
    np.testing.assert_allclose(read(folder / "a")[1], read(folder / "b")[1])


def test_a_name_in_conf_is_a_back_end_unless_it_is_a_step(folder):
    (folder / "conf" / "backend").mkdir(parents=True)
    (folder / "conf" / "backend" / "flat.yaml").write_text("chain: mean-subtract | whiten 3 | length-norm | cosine\n")
    (folder / "conf" / "backend" / "cosine.yaml").write_text("chain: mean-subtract | length-norm | cosine\n")
    run("--backend", "flat", "--train", "train.npz", "--out", "a")
    run("--backend", "mean-subtract | whiten 3 | length-norm | cosine", "--train", "train.npz", "--out", "b")
    assert (folder / "a").read_text() == (folder / "b").read_text()
    run("--backend", "cosine", "--out", "c")  # learns nothing
    with pytest.raises(SdpnError, match=r"unknown step 'flit'.*cosine, flat"):
        run("--backend", "flit")


@pytest.mark.parametrize(
    ("settings", "named"),
    [("fit_on: both\ncohort_of: augmented\n", ["fit_on", "cohort_of"]), ("fit_on: clean\n", []), ("", [])],
)
def test_a_chain_file_says_what_of_it_is_not_followed(folder, capsys, settings, named):
    (folder / "mine.yaml").write_text(f"chain: mean-subtract | cosine\n{settings}")
    run("--backend", "mine.yaml", "--train", "train.npz", "--out", "a")
    said = capsys.readouterr().out
    assert [name for name in ("fit_on", "classes", "cohort_of") if name in said] == named


def test_the_error_rates_of_a_score_file_are_printed_without_x_vectors(folder, capsys):
    run("--out", "scores", "--operating-points", "0.001")
    printed = capsys.readouterr().out
    score.main(["--trials", "trials", "--scores", "scores", "--operating-points", "0.001"], standalone_mode=False)
    streamed = capsys.readouterr().out.splitlines()
    assert len(streamed) == 6 and all(line in printed for line in streamed)


@pytest.mark.parametrize("option", [("--compat", "wespeaker"), ("--intervals",), ("--speakers", "speakers")])
def test_a_score_file_gives_what_its_x_vectors_gave(folder, capsys, option):
    overwrite("speakers", "".join(f"{name} {name[:4]}\n" for name in np.load("eval.npz")["ids"]))
    points = ("--operating-points", "0.001")
    run("--out", "scores", *points, *(option if option != ("--intervals",) else ()))
    printed = capsys.readouterr().out.splitlines()
    score.main(["--trials", "trials", "--scores", "scores", *points, *option], standalone_mode=False)
    assert capsys.readouterr().out.splitlines() == printed[2:]
    assert any("(wespeaker)" in line for line in printed) == (option[0] == "--compat")


def test_blank_lines_are_none_of_a_score_file_and_its_list(folder, capsys):
    run("--out", "scores")
    append("trials", "")
    capsys.readouterr()
    score.main(["--trials", "trials", "--scores", "scores"], standalone_mode=False)
    expected = capsys.readouterr().out
    append("scores", " \n")
    overwrite("trials", "\n" + (folder / "trials").read_text())
    score.main(["--trials", "trials", "--scores", "scores"], standalone_mode=False)
    assert capsys.readouterr().out == expected and "EER %" in expected
    append("scores", "ev00-0 ev00-1 1.0")
    with pytest.raises(SdpnError, match=r"scores, line 499: .*behind the last trial of trials"):
        score.main(["--trials", "trials", "--scores", "scores"], standalone_mode=False)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--scores", "s", "--out", "o"), "--out would do nothing here: scores that are there already"),
        (("--scores", "s", "--compat", "kaldi", "--score-norm", "as", "--top-n", "5"), "--score-norm, --top-n would"),
        (
            ("--xvectors", "eval.npz", "--train", "train.npz"),
            "--train would do nothing here: the chain .* learns nothin",
        ),
        (("--xvectors", "eval.npz", "--utt2spk", "utt2spk"), "--utt2spk would do nothing .* learns from no classes"),
        (("--xvectors", "eval.npz", "--clusters", "4"), "--clusters would do nothing"),
        (("--xvectors", "eval.npz", *LDA_PLDA, "--utt2spk", "utt2spk", "--clusters", "4"), "--clusters would do noth"),
        (
            ("--xvectors", "eval.npz", *LDA_PLDA, "--adapt", "train.npz"),
            "--adapt would do nothing .* adapts to nothing",
        ),
        (("--xvectors", "eval.npz", "--cohort", "train.npz"), "--cohort would do nothing here: --score-norm is none"),
        (
            ("--xvectors", "eval.npz", "--score-norm", "s", "--cohort", "train.npz", "--cohort-size", "9"),
            "--cohort-size would do nothing here: --cohort is taken whole",
        ),
        (
            ("--xvectors", "eval.npz", "--backend", "x.h5", "--train", "train.npz", "--utt2spk", "utt2spk"),
            "--train, --utt2spk would do nothing here: x.h5 is fitted already",
        ),
        (
            ("--xvectors", "eval.npz", "--backend", "length-norm | plda", "--plda", "p", "--train", "train.npz"),
            "--train would do nothing here: the chain 'length-norm | plda' with --plda learns nothing",
        ),
    ],
)
def test_an_option_without_a_part_is_wrong_usage(folder, options, named):
    with pytest.raises(click.UsageError, match=named):
        score.main(["--trials", "trials", *options], standalone_mode=False)


def test_speakers_that_do_not_know_an_utterance_are_refused(folder):
    names = list(np.load("eval.npz")["ids"])
    overwrite("speakers", "".join(f"{name} {name[:4]}\n" for name in names if name not in ("ev03-1", "ev05-0")))
    with pytest.raises(SdpnError, match="speakers: 2 of the trials' 32 utterances have no speaker in it: ev"):
        run("--speakers", "speakers")


def test_scores_that_are_no_numbers_are_refused_and_not_written(folder, monkeypatch):
    monkeypatch.setattr(Cosine, "score_pairs", lambda *_: np.where(np.arange(496) == 1, np.nan, 1.0))
    for out in ((), ("--out", "scores")):
        with pytest.raises(SdpnError, match="1 of 496 scores are NaN, the first of ev00-0 ev00-2: the back-end cannot"):
            run(*out)
    assert not (folder / "scores").exists()


@pytest.mark.parametrize("option", ["--out", "--save-backend"])
def test_where_nothing_can_be_written_is_noticed_before_any_work(folder, option):
    (folder / "eval.npz").write_bytes(b"would be refused, if it were read")
    with pytest.raises(SdpnError, match="cannot write trials/x: a file is where a folder should be"):
        run(option, "trials/x")


def test_a_score_file_of_a_list_in_another_form_is_read_too(folder, capsys):
    run("--out", "scores")
    capsys.readouterr()
    printed = []
    lines = [line.split() for line in (folder / "trials").read_text().splitlines()]
    for form in ("{0} {1} {2}\n", "{3} {0} {1}\n", "{0} {1} {3}\n"):  # Kaldi's, VoxCeleb's, CN-Celeb's
        overwrite("other", "".join(form.format(*line, int(line[2] == "target")) for line in lines))
        score.main(["--trials", "other", "--scores", "scores"], standalone_mode=False)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2] and "EER %" in printed[0]


def test_names_may_be_written_in_either_of_unicodes_forms(folder, capsys):
    data = np.load("eval.npz")
    apart, whole = "Ame\u0301lie-", "Am\u00e9lie-"
    np.savez("eval.npz", ids=np.array([apart + name for name in data["ids"]]), vectors=data["vectors"])
    lines = [line.split() for line in (folder / "trials").read_text().splitlines()]
    overwrite("trials", "".join(f"{apart}{a} {whole}{b} {label}\n" for a, b, label in lines))
    overwrite("speakers", "".join(f"{apart}{name} {name[:4]}\n" for name in data["ids"]))
    run("--out", "scores", "--speakers", "speakers")
    score.main(["--trials", "trials", "--scores", "scores"], standalone_mode=False)
    assert capsys.readouterr().out.count("EER %") == 2


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("ev00-0 ev00-2 1.0\n", "scores, line 1: expected the score of ev00-0 ev00-1, got that of ev00-0 ev00-2"),
        ("ev00-0 ev00-1 1.0\n", "scores ends before the score of 'ev00-0 ev00-2 target' in line 2 of trials"),
        ("ev00-0 ev00-1 high\n", "scores, line 1: .*high' is not a number"),
        ("ev00-0 ev00-1 nan\n", "scores, line 1: .*nan' is not a number"),
    ],
)
def test_a_score_file_of_other_trials_is_refused(folder, lines, sentence):
    (folder / "scores").write_text(lines)
    with pytest.raises(SdpnError, match=sentence):
        score.main(["--trials", "trials", "--scores", "scores"], standalone_mode=False)


def append(name, line):
    with open(name, "a") as opened:
        opened.write(line + "\n")


def overwrite(name, text):
    with open(name, "w") as opened:
        opened.write(text)


def zero(name):
    data = np.load(name)
    data = {**data, "vectors": data["vectors"] * (np.arange(len(data["ids"])) > 1)[:, None]}
    np.savez(name, **data)


def narrow(name):
    np.savez(name, ids=np.load(name)["ids"], vectors=np.load(name)["vectors"][:, :7])


@pytest.mark.parametrize("option", ["--trials", "--scores", "--speakers", "--models", "--utt2spk"])
def test_a_file_that_is_not_utf_8_is_refused_in_a_sentence(folder, option):
    (folder / "latin").write_bytes("\u00e9 x target\n".encode("latin-1"))
    run("--out", "scores")
    files = {"--trials": "trials", "--scores": "scores", "--xvectors": "eval.npz", option: "latin"}
    files.pop("--scores" if option in ("--speakers", "--models", "--utt2spk") else "--xvectors")
    rest = LDA_PLDA if option == "--utt2spk" else ()
    with pytest.raises(SdpnError, match="latin: not a text file in UTF-8"):
        score.main([word for pair in files.items() for word in pair] + list(rest), standalone_mode=False)


@pytest.mark.parametrize(
    ("spoil", "options", "sentence"),
    [
        (lambda: append("trials", "ev00-0 x1 target"), (), r"1 of its 33 utterances have no x-vector in eval.npz: x1"),
        (lambda: append("trials", "a b c d"), (), "trials, line 497: expected `enroll test target"),
        (lambda: overwrite("trials", "ev00-0 ev00-1 target\n"), (), "error rates need 'nontarget' trials too"),
        (lambda: zero("eval.npz"), (), "length-norm: 2 of 32 vectors have length zero"),
        (lambda: narrow("train.npz"), ("--backend", "mean-subtract | cosine", "--train", "train.npz"), "10 dimensions"),
        (
            lambda: None,
            ("--backend", "mean-subtract | cosine"),
            "learns from training x-vectors: give them with --train",
        ),
        (lambda: None, ("--backend", "plda adapt=yes", "--train", "train.npz"), "give them with --adapt"),
        (lambda: None, ("--score-norm", "as"), "needs a cohort: give its x-vectors with --cohort, or --train"),
        (lambda: None, ("--backend", "gmm"), "unknown step 'gmm'"),
        (lambda: None, ("--backend", "none.yaml"), "there is no such configuration file"),
        (lambda: None, ("--backend", "none.h5"), "there is no such file"),
        (lambda: None, ("--plda", "p"), "does not end in plda"),
        (lambda: None, ("--save-plda", "p"), "the chain 'length-norm | cosine' has no PLDA"),
        (lambda: None, ("--models", "nowhere"), "nowhere: there is no such enrollment map"),
        (lambda: append("models", "m0 ev00-2"), ("--models", "models"), "line 9: m0 stands there twice"),
        (lambda: append("models", "m9"), ("--models", "models"), "line 9: expected `model utt1 utt2 ...`, got 'm9'"),
        (
            lambda: overwrite("utt2spk", "tr00-0 a\n"),
            (*LDA_PLDA, "--utt2spk", "utt2spk"),
            "179 of 180 .* no speaker in it: tr00-1",
        ),
        (
            lambda: overwrite("utt2spk", "".join(f"{name} a\n" for name in np.load("train.npz")["ids"])),
            (*LDA_PLDA, "--utt2spk", "utt2spk"),
            "lda: needs vectors of at least two classes, but there is only 1",
        ),
        (lambda: None, ("--operating-points", "2"), "--operating-points: '2' is not p_target"),
    ],
)
def test_bad_input_is_one_sentence(folder, spoil, options, sentence):
    spoil()
    with pytest.raises(SdpnError, match=sentence):
        run(*options)


def test_the_program_exits_1_with_the_sentence_and_without_a_traceback(folder):
    code = "from sdpn.cli import main; main()"
    command = [sys.executable, "-c", code, "score", "--trials", "trials", "--xvectors", "none.npz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: none.npz: there is no such file\n")


def test_lists_may_come_out_of_pipes(folder):
    run("--out", "scores")
    with open("two", "w") as opened:
        opened.write("".join(f"{name} {name[:4]}\n" for name in np.load("eval.npz")["ids"]))
    code = "from sdpn.commands.score import score; score()"
    plain = "--trials trials --scores scores --speakers two --compat kaldi"
    piped = "--trials <(cat trials) --scores <(cat scores) --speakers <(cat two) --compat kaldi"
    streamed = "--trials <(cat trials) --scores <(cat scores)"
    said = []
    for options in (plain, piped, streamed):
        command = f"'{sys.executable}' -c '{code}' {options}"
        said.append(subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout)
    assert said[0] == said[1] and said[2].split("EER")[0] == said[0].split("EER")[0]


def test_numbers_are_names_where_the_score_file_says_so(folder, capsys):
    (folder / "digits").write_text("1 25 0\n0 31 1\n")
    for lines in ("1 25 -2.0\n0 31 3.0\n", "25 0 3.0\n31 1 -2.0\n"):
        (folder / "own").write_text(lines)
        score.main(["--trials", "digits", "--scores", "own"], standalone_mode=False)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines() if "EER" in line] == ["0.00", "0.00"]
