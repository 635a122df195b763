#!/usr/bin/env python3
"""Stages 0 and 1 at VoxCeleb's size: files per second, minutes and memory.

    tests/bench/corpus.py --files 100000 --utterances 1092009 --nj 2 --folder /tmp/bench

Part 1 prepares a tree of --files tiny m4a files laid out as VoxCeleb2 (and some of VoxCeleb1) with
local/prepare_voxceleb.py, from listing to corpus.json, twice: the second run finds the headers read. Part 2 runs the
same program on --utterances files that are but names, with trial lists of the official lengths (what it takes is
everything but the file system), and steps/make_cuts.py on what that made. `--part 1` or `--part 2` runs one alone;
figures are kept in the folder. Memory is the proportional set size of the program and its workers. The last line is
one JSON object; `minutes_for_all` adds to part 2 what listing and headers of --utterances files take at the rate of
part 1.
"""

import argparse
import importlib.util
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
EVAL_FILES, EVAL_SPEAKERS = 153516, 1251
TRIALS = {"veri_test2.txt": 37611, "list_test_all2.txt": 579818, "list_test_hard2.txt": 550894}


def names(files: int, first_speaker: int, speakers: int, extension: str):
    """`files` names of VoxCeleb's form, about 7.5 to a video."""
    for number in range(files):
        speaker, rest = number % speakers, number // speakers
        yield f"id{first_speaker + speaker:05d}/v{rest // 8:03d}x{speaker:04d}/{rest % 8 + 1:05d}.{extension}"


def write_tree(folder: Path, files: int) -> None:
    """--files m4a files for training, a few hundred for evaluation, a trial list."""
    sound = folder / "sound.m4a"
    source = "anoisesrc=r=16000:d=2.5:a=0.1"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-b:a", "24k", sound], check=True)
    content = sound.read_bytes()
    for part, tree in (("vox2/dev/aac", names(files, 12, 5994, "m4a")), ("vox1/wav", names(400, 10001, 40, "m4a"))):
        for name in tree:
            path = folder / part / name
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True)
            path.write_bytes(content)
    write_trials(folder / "vox1" / "veri_test2.txt", list(names(400, 10001, 40, "wav")), 2000)


def write_trials(path: Path, evaluation: list[str], count: int) -> None:
    """`count` different trials, every second one a target."""
    speakers = len({name[:7] for name in evaluation})
    own = len(evaluation) // speakers - 1
    lines = []
    for number in range(count):
        first, step = number // 2 % len(evaluation), number // 2 // len(evaluation) + 1
        if number % 2:
            second = (first + speakers * (1 + (step - 1) % own)) % (speakers * own)
        else:
            second = (first // speakers) * speakers + (first + step) % speakers
        lines.append(
            f"{int(evaluation[first][:7] == evaluation[second % len(evaluation)][:7])} "
            f"{evaluation[first]} {evaluation[second % len(evaluation)]}\n"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(sorted(set(lines))))


def memory_of(pid: int) -> int:
    """Bytes of a process and those below it, shared pages counted once."""
    total, pending = 0, [pid]
    while pending:
        process = pending.pop()
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
            for task in Path(f"/proc/{process}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return total


def measured(name: str, command: list, folder: Path) -> dict[str, float]:
    """Run a program: seconds, seconds of CPU in all its processes, GiB at most."""
    start, cpu, peak = time.monotonic(), cpu_of_children(), 0
    with open(folder / "log.txt", "a") as log:
        process = subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)

        def watch() -> None:
            nonlocal peak
            while process.poll() is None:
                peak = max(peak, memory_of(process.pid))
                time.sleep(0.3)

        watcher = threading.Thread(target=watch)
        watcher.start()
        status = process.wait()
        watcher.join()
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed:\n" + (folder / "log.txt").read_text()[-2000:])
    seconds = {f"{name}_seconds": time.monotonic() - start, f"{name}_cpu_seconds": cpu_of_children() - cpu}
    return {**seconds, f"{name}_gib": peak / 2**30}


def cpu_of_children() -> float:
    """Seconds of CPU of all processes that have ended below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def faked(utterances: int, words: list[str]) -> None:
    """local/prepare_voxceleb.py with a file system that is but names and one header for all."""
    sys.path.insert(0, str(ROOT / "local"))
    spec = importlib.util.spec_from_file_location("prepare_voxceleb", ROOT / "local" / "prepare_voxceleb.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    from sdpn.audio import headers
    from sdpn.audio.files import AudioFile, Listing, list_audio
    from sdpn.files import Stamp

    def listing(folder: Path, run) -> Listing:
        folder = str(folder)
        if folder.endswith("vox2"):
            tree = (f"dev/aac/{name}" for name in names(utterances, 12, 5994, "m4a"))
        elif folder.endswith("vox1"):
            tree = (f"wav/{name}" for name in names(EVAL_FILES, 20001, EVAL_SPEAKERS, "wav"))
        else:
            return list_audio(folder, run)
        files = sorted(tree)
        return Listing(Path(folder), [AudioFile(folder, name, Stamp(40000, 1)) for name in files])

    program.list_recordings = listing
    program.refuse_without_ffmpeg = lambda listing: None
    headers.read_header = lambda path: headers.Header(16000, 131072, 1)
    program.main.main(words, standalone_mode=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100000)
    parser.add_argument("--utterances", type=int, default=1092009)
    parser.add_argument("--nj", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/bench-corpus"))
    parser.add_argument("--part", type=int, choices=(1, 2))
    parser.add_argument("--faked", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.faked is not None:
        faked(given.utterances, given.faked)
        return
    folder, kept = given.folder, given.folder / "figures.json"
    clips = [word for kind in ("noise", "music", "rir") for word in (f"--{kind}-dir", folder / kind)]
    same = ["--nj", given.nj, *clips]
    if given.part != 2:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kept.write_text(json.dumps(from_disk(folder, given.files, given.nj, same)))
    figures = json.loads(kept.read_text())
    if given.part != 1:
        figures |= by_name(folder, given.utterances, given.nj, same)
        scan = 1 / figures["listing_files_per_second"] + 1 / figures["header_files_per_second"]
        seconds = given.utterances * scan + figures["faked_stage0_seconds"] + figures["stage1_seconds"]
        figures["minutes_for_all"] = seconds / 60
        figures["gib"] = max(value for name, value in figures.items() if name.endswith("_gib"))
        figures |= {"utterances": given.utterances, "nj": given.nj}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def from_disk(folder: Path, files: int, nj: int, same: list) -> dict[str, float]:
    """Part 1."""
    write_tree(folder, files)
    for kind in ("noise", "music", "rir"):
        (folder / kind).mkdir()
        shutil.copy(folder / "sound.m4a", folder / kind)
    program = [sys.executable, ROOT / "local" / "prepare_voxceleb.py", "--voxceleb1", folder / "vox1"]
    program += ["--voxceleb2", folder / "vox2", "--voxceleb-trials", "O", *same, folder / "data"]
    figures: dict[str, float] = {"files": files}
    figures |= measured("tree", program, folder)
    for output in (folder / "data" / "corpus.json", folder / "data" / "done" / "voxceleb.json"):
        output.unlink()
    figures |= measured("tree_again", program, folder)
    figures["files_per_second"] = files / figures["tree_seconds"]
    figures["listing_files_per_second"], figures["header_files_per_second"] = rates(folder, nj)
    return figures


def by_name(folder: Path, utterances: int, nj: int, same: list) -> dict[str, float]:
    """Part 2."""
    fake = folder / "fake"
    shutil.rmtree(fake, ignore_errors=True)
    for part in ("vox1", "vox2"):
        (fake / part).mkdir(parents=True)
    evaluation = list(names(EVAL_FILES, 20001, EVAL_SPEAKERS, "wav"))
    for name, count in TRIALS.items():
        write_trials(fake / "vox1" / name, evaluation, count)
    words = ["--voxceleb1", fake / "vox1", "--voxceleb2", fake / "vox2", *same, fake / "data"]
    figures = {}
    program = [sys.executable, __file__, "--utterances", utterances, "--faked", *words]
    figures |= measured("faked_stage0", program, folder)
    program = [sys.executable, ROOT / "steps" / "make_cuts.py", "--nj", nj, fake / "data"]
    figures |= measured("stage1", program, folder)
    return figures


def rates(folder: Path, nj: int) -> tuple[float, float]:
    """Listing and headers alone, in files a second."""
    from functools import partial

    from sdpn.audio.files import list_audio
    from sdpn.audio.headers import probe
    from sdpn.cluster.pool import run_jobs

    run = partial(run_jobs, nj=nj)
    start = time.monotonic()
    listing = list_audio(folder / "vox2", run)
    between = time.monotonic()
    probe(listing.files, run, "headers")
    end = time.monotonic()
    return len(listing.files) / (between - start), len(listing.files) / (end - between)


if __name__ == "__main__":
    main()
