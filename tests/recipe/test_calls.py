"""What each program of the recipe is called with, and the signals that run.sh passes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.recipe.calls import PROGRAMS, shell
from sdpn.recipe.check import check
from sdpn.recipe.command_line import read
from sdpn.recipe.options import ALL, SECTIONS
from tests.recipe.conftest import ROOT


def called(*words, folder: Path) -> dict[str, list[str]]:
    """Return the words that each program receives; `folder` is where the data folder is to be."""
    run = check(read(["--data-dir", str(folder / "data"), *words]), Path.cwd(), 6)
    names = ("prepare", "rounds", *PROGRAMS)
    script = shell(run) + "\n" + "\n".join(f'printf "%s\\n" "${{{name}[@]}}" --' for name in names)
    said = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout
    parts = [part.split("\n")[:-1] for part in said.split("--\n")[:-1]]
    return dict(zip(names, parts, strict=True))


def test_a_setting_goes_to_the_programs_that_act_on_it_alone(tmp_path):
    words = [
        "--train.lr",
        "0.1",
        "--fbank.vad=energy",
        "--augment.noise-snr",
        "-5",
        "3",
        "--augment.reverb-copies",
        "2",
    ]
    made = called(*words, "--nj", "3", "--seed", "2", folder=tmp_path)
    assert [name for name, given in made.items() if "--lr" in given] == ["check_sizes", "train_sdpn"]
    assert [name for name, given in made.items() if "--vad" in given] == ["make_fbank"]
    assert [name for name, given in made.items() if "--reverb-copies" in given] == ["make_augment"]
    views = made["train_sdpn"]
    assert views[views.index("--noise-snr") :][:3] == ["--noise-snr", "-5", "3"]
    assert "--noise-snr" in made["extract_xvectors"]
    assert made["make_cuts"] == ["--nj", "3"]
    assert made["score"] == ["--seed", "2"]


def test_a_short_name_is_the_setting_that_it_names(tmp_path):
    made = called("--feats-type", "hdf5", "--augment", "off", "--trim-silence", "--max-skipped", "0.2", folder=tmp_path)
    assert made["make_fbank"][-4:] == ["--max-skipped", "0.2", "--feats-type", "hdf5"]
    assert "--trim-silence" in made["make_cuts"]
    for program in ("make_augment", "train_sdpn", "extract_xvectors"):
        assert made[program][made[program].index("--augment") + 1] == "off"
    assert "--max-skipped" not in made["prepare"]  # the toy corpus makes all it needs


def test_a_file_of_settings_goes_to_every_program_that_reads_it(tmp_path):
    made = called("--fbank-config", "conf/fbank_3dspeaker.yaml", folder=tmp_path)
    assert made["make_fbank"][:2] == ["--config", "conf/fbank_3dspeaker.yaml"]
    assert "--fbank-config" in made["check_sizes"]
    assert made["train_sdpn"][:2] == ["--config", "conf/sdpn/toy.yaml"]


def test_what_suits_a_corpus_gives_way_to_what_is_asked_for(tmp_path):
    folders = ["--corpus", "voxceleb", "--voxceleb1", str(tmp_path), "--voxceleb2", str(tmp_path)]
    assert called(*folders, folder=tmp_path)["make_cuts"][-2:] == ["--min-duration", "2"]
    assert called(*folders, "--min-duration", "3", folder=tmp_path)["make_cuts"][-2:] == ["--min-duration", "3"]
    assert called("--extraction.views", "7", folder=tmp_path)["extract_xvectors"][-4:] == [
        *("--views", "7"),
        *("--view-frames", "200"),
    ]


def test_a_corpus_that_is_there_keeps_its_seed_and_its_held_out_speakers(tmp_path):
    (tmp_path / "data").mkdir()
    options = {"corpus_dir": str(tmp_path), "dev_speakers": 4, "seed": 1}
    Corpus("folder", "train", ["eval"], {}, options=options).write(tmp_path / "data")
    made = called("--seed", "5", "--nj", "2", folder=tmp_path)
    assert made["prepare"] == ["local/prepare_again.py", "--nj", "2"]
    assert made["train_sdpn"][-2:] == ["--dev-trials", "dev"]
    assert called("--dev-speakers", "6", folder=tmp_path)["prepare"][1:3] == ["--dev-speakers", "6"]


def test_stages_7_and_8_receive_their_settings_and_the_rounds_their_names(tmp_path):
    words = ["--finetune.clusters", "40", "--finetune.no-gate", "--augment.p-mask", "0.5", "--seed", "3"]
    made = called(*words, "--rounds", "2", folder=tmp_path)
    assert made["rounds"] == ["round1", "round2"]
    assert made["make_pseudo_speakers"][:2] == ["--config", "conf/finetune/toy.yaml"]
    assert "--clusters" in made["make_pseudo_speakers"] and "--no-gate" not in made["make_pseudo_speakers"]
    for option in ("--no-gate", "--p-mask", "--seed"):
        assert option in made["finetune"]
    assert "--clusters" not in made["finetune"]
    labels = tmp_path / "utt2spk"
    labels.write_text("a b\n")
    supervised = called("--labels", str(labels), "--init", str(tmp_path), folder=tmp_path)
    assert supervised["rounds"] == ["supervised"]
    assert str(labels) in supervised["make_pseudo_speakers"]
    assert "--init" in supervised["train_sdpn"] and "--init" not in supervised["finetune"]


def test_paths_are_relative_to_where_the_command_was_typed(tmp_path):
    (tmp_path / "calls").mkdir()
    (tmp_path / "own.yaml").write_text("epochs: 3\n")
    given = read(["--corpus", "folder", "--corpus-dir", "calls", "--config", "own.yaml", "--data-dir", "d"])
    run = check(given, tmp_path, 6)
    assert (run.data, run.exp, run.config) == (f"{tmp_path}/d", f"{tmp_path}/exp/folder", f"{tmp_path}/own.yaml")
    assert run.given.options["corpus-dir"] == f"{tmp_path}/calls"
    assert check(read(["--config", "conf/sdpn/small.yaml"]), tmp_path, 6).config == "conf/sdpn/small.yaml"


def test_every_program_that_a_declaration_names_is_called():
    named = {name for option in ALL.values() for name in option.to}
    named |= {name for section in SECTIONS.values() for name in (*section.to, *section.files)}
    assert named <= {"prepare", *PROGRAMS}
    script = (ROOT / "run.sh").read_text()
    assert [name for name in ("prepare", *PROGRAMS) if f'"${{{name}[@]}}"' not in script] == []
    assert [name for name in PROGRAMS if not (ROOT / "steps" / f"{name}.py").exists()] == []


def test_each_program_takes_the_options_that_it_is_called_with(tmp_path):
    words = [f"--{section}.{key}" for section, key in (("cuts", "channel"), ("train", "lr"), ("backend", "clusters"))]
    made = called(*(word for name in words for word in (name, "9")), folder=tmp_path)
    for program in PROGRAMS:
        command = [sys.executable, f"steps/{program}.py", *made[program], "--help"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_options_are_read_with_the_standard_library_alone():
    words = ["--train.lr", "0.1", "--backend.clusters", "9", "--cuts.channel", "1", "--extraction.views", "1"]
    command = [sys.executable, "-S", "-m", "sdpn.recipe", str(ROOT), *words, "--fbank.vad", "none", "--augment", "off"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    assert "train_sdpn=(--config conf/sdpn/toy.yaml" in done.stdout


@pytest.mark.parametrize("words", [["--eval-share", "1"], ["--nj", "-1"], ["--seed"], ["--train."], ["-x"], ["--"]])
def test_a_wrong_word_is_refused(words):
    with pytest.raises(SdpnError, match=r"expected|needs a value|unknown option|is not an option"):
        read(words)


@pytest.fixture
def script(tmp_path):
    """A run.sh whose one stage says that it has begun, and what reached it."""
    text = (ROOT / "run.sh").read_text()
    begin, end = text.index("python=.venv"), text.index("stage() {")
    own = 'stage=4; stop_stage=4; check_conf=(); data=""; exp=""; train_sdpn=(stage.py); PATH=.:$PATH\n'
    text = text[:begin] + own + text[end:]
    text = text.replace('run steps/check_conf.py "${check_conf[@]}" "$data"\n', "")
    text = text.replace("steps/train_sdpn.py", sys.executable)
    (tmp_path / "run.sh").write_text(text)
    (tmp_path / "stage.py").write_text(
        "import signal, sys, time, pathlib\n"
        "def leave(number, frame):\n"
        "    print('saved', flush=True)\n"
        "    sys.exit(85)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "signal.signal(signal.SIGUSR1, leave)\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)\n"
        "pathlib.Path('begun').touch()\n"
        "try:\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
        "    sys.exit(130)\n"
    )
    return tmp_path


def begun(folder: Path) -> subprocess.Popen:
    command = ["bash", "run.sh"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while not (folder / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_script_alone_reaches_the_stage_and_is_waited_for(script, number):
    process = begun(script)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert "saved" in said
    assert process.returncode == 85


def test_an_interrupt_from_the_keyboard_reaches_the_stage_and_is_waited_for(script):
    process = begun(script)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert said.splitlines() == ["== stage 4: train SDPN", "True", "interrupted"]
    assert process.returncode == 130
