"""The executable of stage 4, as run.sh calls it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sdpn.cluster.launch import launch
from tests.training.conftest import TINY

STEP = Path(__file__).parents[2] / "steps" / "train_sdpn.py"


@pytest.fixture
def command(tmp_path, data):
    """command(exp, *options) -> the arguments that train the tiny network on the prepared data."""
    config, augment = tmp_path / "tiny.yaml", tmp_path / "augment.yaml"
    config.write_text(yaml.safe_dump(TINY))
    augment.write_text("p_mask: 0.5\n")
    fixed = [sys.executable, STEP, "--config", config, "--augment-config", augment]
    return lambda exp, *options: [str(part) for part in (*fixed, *options, data, tmp_path / exp)]


def train(arguments):
    return subprocess.run(arguments, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_killed_by_sigkill_and_started_again_it_ends_with_the_same_bits_and_a_rerun_does_nothing(command, tmp_path):
    options = ("--epochs", "8")
    undisturbed = train(command("undisturbed", *options))
    assert undisturbed.returncode == 0, undisturbed.stderr
    killed = subprocess.Popen(command("exp", *options), env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not (tmp_path / "exp" / "checkpoints" / "step-000000003.pt").exists():
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = train(command("exp", *options))
    assert again.returncode == 0, again.stderr
    assert "going on after step" in again.stdout
    weights = [(tmp_path / exp / "model" / "weights.pt").read_bytes() for exp in ("undisturbed", "exp")]
    assert weights[0] == weights[1]

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "exp").rglob("*.*")}
    rerun = train(command("exp", *options, "--log-every", "2"))
    assert rerun.returncode == 0
    assert "trained already" in rerun.stdout
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "exp").rglob("*.*")}
    assert {path.name for path in after if after[path] != before[path]} <= {"config.yaml", ".lock"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--batch-size", "32"), "--batch-size is 32, but the training set has 20 utterances"),
        (("--ngpu", "2"), "torch finds no GPU here"),
        (("--config", "absent.yaml"), "there is no such configuration file"),
    ],
)
def test_a_mistake_is_one_sentence(options, sentence, command):
    done = train(command("exp", *options))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_two_processes_train_one_model_and_a_mistake_of_both_is_one_sentence(command, tmp_path, capfd):
    """What --ngpu 2 does, with two processes on the CPU."""
    assert launch(command("ranks", "--dev-trials", "absent"), 2) == 1
    assert [line for line in capfd.readouterr().err.splitlines() if "error" in line] == [
        f"error: --dev-trials is 'absent', neither a file nor a trial list of {tmp_path / 'data'} (it has none)"
    ]
    assert launch(command("ranks"), 2) == 0
    assert "2 processes, each with" in capfd.readouterr().out
    assert (tmp_path / "ranks" / "model" / "weights.pt").exists()
    assert (tmp_path / "ranks" / "training.png").exists()
    assert launch(command("ranks"), 2) == 0
    assert "trained already" in capfd.readouterr().out


def test_a_finished_training_goes_on_in_another_folder_that_begins_with_its_model(command, tmp_path):
    assert train(command("exp")).returncode == 0
    more = train(command("exp", "--epochs", "8"))
    assert more.returncode == 1
    assert f"epochs was 4, is 8: choose another experiment folder, or remove {tmp_path / 'exp'}" in more.stderr
    assert f"--init {tmp_path / 'exp'} with another folder" in more.stderr
    further = train(command("further", "--init", str(tmp_path / "exp")))
    assert further.returncode == 0, further.stderr
    assert f"begins with {tmp_path / 'exp' / 'model'}" in further.stdout
    recorded = yaml.safe_load((tmp_path / "further" / "config.yaml").read_text())
    assert recorded["lr"] == 0.25 * TINY["lr"]
    assert "trained already" in train(command("further", "--config", str(tmp_path / "further" / "config.yaml"))).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_it_with_status_85_and_the_same_command_goes_on(number, command, tmp_path):
    options, log = ("--epochs", "400", "--checkpoint-every", "100000", "--keep-every-epochs", "0"), tmp_path / "log"
    with open(log, "w") as output:
        training = subprocess.Popen(command("exp", *options), stdout=output)
        while not (tmp_path / "exp" / "train.jsonl").exists() or not (tmp_path / "exp" / "train.jsonl").stat().st_size:
            assert training.poll() is None
            time.sleep(0.01)
        training.send_signal(number)
        assert training.wait() == 85
    assert f"stopped by {number.name} after step" in log.read_text()
    [saved] = (tmp_path / "exp" / "checkpoints").iterdir()
    with open(log, "w") as output:
        training = subprocess.Popen(command("exp", *options), stdout=output)
        while "going on after" not in log.read_text():
            assert training.poll() is None
            time.sleep(0.01)
        training.kill()
        training.wait()
    assert f"going on after step {int(saved.stem.removeprefix('step-'))} of" in log.read_text()


def test_a_signal_is_heard_while_the_other_ranks_are_waited_for(command):
    environment = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}  # nobody is there
    code = (
        "import os, signal, threading, torch\n"
        "from sdpn.training.ranks import joined, place_from_environment\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(85))\n"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "with joined(place_from_environment(), torch.device('cpu')): pass\n"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | environment, timeout=120).returncode == 85


def test_an_unknown_key_is_one_sentence(command, tmp_path):
    (tmp_path / "wrong.yaml").write_text("chanels: 8\n")
    done = train(command("exp", "--config", tmp_path / "wrong.yaml"))
    assert done.returncode == 1
    assert "wrong.yaml: unknown key 'chanels'; allowed here: " in done.stderr


def test_without_features_it_says_which_stage_makes_them(command, data):
    (data / "train" / "index" / "index.json").unlink()
    done = train(command("exp"))
    assert done.returncode == 1
    assert "run stage 2 first" in done.stderr


@pytest.mark.parametrize(
    ("name", "differences"),
    [
        ("frobenius", {"dimension_weight": 0.1}),
        (
            "reference",
            {
                "clip": "tensor",
                "prototype_gradients": "sum",
                "diversity_over": "rank",
                "prototype_init": "uniform",
                "padding": "reflect",
                "precision": "float32",
            },
        ),
    ],
)
def test_the_other_configurations_are_the_papers_but_for_what_they_name(name, differences):
    from sdpn import config
    from sdpn.training.config import read_settings

    folder = STEP.parents[1] / "conf" / "sdpn"
    paper, other = (config.to_dict(read_settings(folder / f"{file}.yaml").train) for file in ("paper", name))
    paper["channels"] = None  # ECAPA's usual number, which is the paper's
    assert {key for key in paper if paper[key] != other[key]} == set(differences)
    assert {key: other[key] for key in differences} == differences


def test_the_papers_configuration_is_the_papers_setting():
    from sdpn.training.config import read_settings

    paper = read_settings(STEP.parents[1] / "conf" / "sdpn" / "paper.yaml").train
    assert (paper.channels, paper.embedding_size, paper.prototypes, paper.batch_size) == (1024, 512, 1024, 4 * 96)
    assert (paper.head_hidden, paper.head_output) == (2048, 256)
    assert (paper.teacher_views, paper.teacher_frames, paper.student_views, paper.student_frames) == (1, 400, 4, 200)
    assert paper.peak_lr == pytest.approx(0.4 * 384 / 256)
    assert (paper.final_lr, paper.momentum, paper.weight_decay, paper.clip_norm) == (1e-5, 0.9, 5e-5, 3.0)
    assert (paper.epochs, paper.warmup_epochs, paper.teacher_momentum) == (150, 10, 0.996)
    assert (paper.student_temperature, paper.teacher_sharpening, paper.sinkhorn_iterations) == (0.1, 0.25, 3)
    assert (paper.mean_entropy_weight, paper.diversity_weight, paper.dimension_weight) == (1, 0.1, 0)
    assert (paper.network, paper.attention_channels, paper.global_context) == ("ecapa", 128, True)
    assert (paper.pooling, paper.padding, paper.clip, paper.sync_norms) == ("attentive", "zeros", "global", True)
    assert (paper.prototype_gradients, paper.diversity_over, paper.lr_batch_size) == ("mean", "step", 256)
