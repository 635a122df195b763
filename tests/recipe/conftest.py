import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.recipe.voices import write_speakers

ROOT = Path(__file__).parents[2]

TINY = """
channels: 16
embedding_size: 32
attention_channels: 8
head_hidden: 32
head_output: 16
prototypes: 16
teacher_frames: 60
student_views: 2
student_frames: 40
batch_size: 12
epochs: 4
warmup_epochs: 1
lr_batch_size: 12
lr: 0.05
teacher_momentum: 0.9
log_every: 2
checkpoint_every: 2
"""


class Recipe:
    """run.sh on a small folder of synthetic voices, with everything it writes below one folder."""

    def __init__(self, folder: Path):
        self.folder, self.data, self.exp = folder, folder / "data", folder / "exp"
        self.corpus = folder / "corpus"
        write_speakers(self.corpus / "train", 9)
        write_speakers(self.corpus / "eval", 4)
        for speaker in (self.corpus / "eval").iterdir():
            speaker.rename(speaker.with_name(speaker.name.replace("spk", "other")))
        soundfile.write(self.corpus / "eval" / "other00" / "s0" / "short.flac", np.full(300, 0.1), 16000)
        self.config = folder / "tiny.yaml"
        self.config.write_text(TINY)

    def command(self, *options: str) -> list[str]:
        fixed = ["--corpus", "folder", "--corpus-dir", self.corpus, "--data-dir", self.data, "--exp-dir", self.exp]
        return [str(word) for word in [ROOT / "run.sh", *fixed, "--config", self.config, "--nj", "2", *options]]

    def run(self, *options: str, status: int = 0) -> str:
        """Run to the end; return what it printed."""
        done = subprocess.run(self.command(*options), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run_stage(self, stage: int) -> str:
        return self.run("--stage", str(stage), "--stop-stage", str(stage))

    def kill_stage(self, stage: int, moment) -> None:
        """Start a stage and kill all its processes as soon as `moment()` is true."""
        command = self.command("--stage", str(stage), "--stop-stage", str(stage))
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and not moment():
            time.sleep(0.001)
        assert process.poll() is None, "it ended before the moment came"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def keep(self, name: str) -> None:
        """Keep a copy of everything written so far."""
        for part in ("data", "exp"):
            if (self.folder / part).exists():
                shutil.copytree(self.folder / part, self.folder / "kept" / name / part)

    def go_back(self, name: str) -> None:
        """Put everything back to what it was."""
        for part in ("data", "exp"):
            shutil.rmtree(self.folder / part, ignore_errors=True)
            if (self.folder / "kept" / name / part).exists():
                shutil.copytree(self.folder / "kept" / name / part, self.folder / part)

    def changes(self, kept: str) -> list[str]:
        """The files of `data` and `exp` that differ from those kept under that name, are missing, or are too many."""
        found = []
        for part in ("data", "exp"):
            before, now = self.content(part, self.folder / "kept" / kept), self.content(part)
            names = sorted(before.keys() | now.keys())
            found += [f"{part}/{name}" for name in names if before.get(name) != now.get(name)]
        return found

    def content(self, part: str, root: Path | None = None) -> dict[str, bytes]:
        """All files of `data` or `exp` but locks and what tells of times."""
        folder = (root or self.folder) / part
        logs = {"train.jsonl", "training.png", "curves.json", "README.md"}
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and path.name not in logs
            and not path.name.endswith(".lock")
            and "tensorboard" not in path.parts
        }


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> Recipe:
    """The recipe, run once from stage 0 to stage 6, with what stood there after each stage kept."""
    recipe = Recipe(tmp_path_factory.mktemp("recipe"))
    recipe.printed = ""
    for stage in range(7):
        recipe.printed += recipe.run_stage(stage)
        recipe.keep(f"after {stage}")
    return recipe


@pytest.fixture(autouse=True)
def undisturbed(request) -> None:
    """Every test starts from the finished recipe."""
    if "recipe" in request.fixturenames:
        request.getfixturevalue("recipe").go_back("after 6")
