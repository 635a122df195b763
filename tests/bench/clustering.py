"""How well and how fast pseudo-speakers are found, on vectors made here: utterances in sessions of speakers.

    python tests/bench/clustering.py [--threads 2] [--only 58k|100k|nested|1m] [--scale 1.0]

A speaker has deviation 1 in each dimension, its 3 to 8 sessions 0.9 about it, utterances 0.7 about their session.

    58k     58,000 vectors of 256 dimensions, 1500 speakers: the number given; random-start k-means beside it
    100k    100,000 vectors of 64 dimensions, 1500 speakers: the number given, and not
    nested  what number is found for 1, 3-8 and 50 sessions a speaker
    1m      a million vectors of 512 dimensions, 6000 speakers: the number given

Each measurement runs in a process of its own, whose peak memory is the whole process's, the vectors (2 GiB of
the million) and libraries with it. NMI is that with the speakers. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

MEASUREMENTS = ("58k", "1m", "100k", "nested")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument(
        "--scale", type=float, default=1.0, help="of vectors and speakers, to try the benchmark itself"
    )
    options.add_argument("--only", choices=MEASUREMENTS, action="append", help="this measurement alone, or these")
    options.add_argument("--here", action="store_true", help="measure in this process")
    given = options.parse_args()
    if given.here:
        print(json.dumps(globals()[f"measure_{given.only[0]}"](given.scale)))
        return
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(given.threads))}
    found = {}
    for name in given.only or MEASUREMENTS:
        command = [sys.executable, __file__, "--here", "--only", name, "--scale", str(given.scale)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        one = json.loads(done.stdout.splitlines()[-1])
        found |= one
        print(", ".join(f"{key} {value}" for key, value in one.items()), flush=True)
    print(json.dumps(found))


def nested(n_speakers: int, n_vectors: int, dim: int, sessions: tuple[int, int] = (3, 8), seed: int = 1):
    """Vectors (n_vectors, dim) float32 and the speaker of each (n_vectors,)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    speaker_of = np.repeat(np.arange(n_speakers), rng.integers(sessions[0], sessions[1] + 1, size=n_speakers))
    centres = rng.standard_normal((n_speakers, dim), dtype=np.float32)[speaker_of]
    centres += np.float32(0.9) * rng.standard_normal(centres.shape, dtype=np.float32)
    session = rng.integers(len(centres), size=n_vectors)
    vectors = np.empty((n_vectors, dim), np.float32)
    for start in range(0, n_vectors, 1 << 16):
        rows = session[start : start + (1 << 16)]
        vectors[start : start + (1 << 16)] = centres[rows] + np.float32(0.7) * rng.standard_normal(
            (len(rows), dim), dtype=np.float32
        )
    return vectors, speaker_of[session]


def measure(vectors, speakers, n_clusters: int | None) -> tuple[float, float, float, int]:
    """NMI with the speakers, seconds, CPU seconds, and the number of clusters."""
    from sdpn.backend.clustering import PseudoSpeakers
    from sdpn.evaluation.partition import agreement

    PseudoSpeakers(2, min_size=1).fit(vectors[:20])  # compiles the kernels, or reads them from numba's cache
    start, cpu = time.perf_counter(), time.process_time()
    found = PseudoSpeakers(n_clusters, min_size=1, seed=1).fit(vectors)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"  {seconds:.0f} s: {found.note_}", file=sys.stderr)
    return round(agreement(found.labels_, speakers).nmi, 4), round(seconds, 1), round(cpu, 1), found.n_classes_


def measure_58k(scale: float) -> dict:
    import numpy as np

    from sdpn.backend.clustering import directions
    from sdpn.backend.k_means import k_means, nearest_centroid
    from sdpn.backend.threads import in_threads
    from sdpn.evaluation.partition import agreement

    n_speakers = int(1500 * scale)
    vectors, speakers = nested(n_speakers, int(58_000 * scale), 256)
    nmi, seconds, cpu, _ = measure(vectors, speakers, n_speakers)
    X = directions(vectors)
    chosen = np.random.default_rng(1).choice(len(X), n_speakers, replace=False)
    with in_threads() as each:
        plain = k_means(X, nearest_centroid(X, np.arange(len(X)), X[chosen], each), each)
    random = round(agreement(plain, speakers).nmi, 4)
    return {"nmi_58k": nmi, "seconds_58k": seconds, "cpu_seconds_58k": cpu, "nmi_58k_random_start": random}


def measure_100k(scale: float) -> dict:
    n_speakers = int(1500 * scale)
    vectors, speakers = nested(n_speakers, int(100_000 * scale), 64)
    given, free = (measure(vectors, speakers, number) for number in (n_speakers, None))
    return {
        "nmi_100k": given[0],
        "seconds_100k": given[1],
        "cpu_seconds_100k": given[2],
        "nmi_100k_by_rule": free[0],
        "seconds_100k_by_rule": free[1],
        "cpu_seconds_100k_by_rule": free[2],
        "speakers_100k_by_rule": free[3],
        "speakers_100k": n_speakers,
    }


def measure_nested(scale: float) -> dict:
    found = {}
    for dim in (64, 256):
        for least, most in ((1, 1), (3, 8), (50, 50)):
            n_speakers, per_session = max(20, int((40 if most == 50 else 150) * scale)), 8
            n_vectors = n_speakers * (least + most) // 2 * per_session
            vectors, speakers = nested(n_speakers, n_vectors, dim, (least, most))
            nmi, _, _, number = measure(vectors, speakers, None)
            name = f"{least}_sessions" if least == most else f"{least}_to_{most}_sessions"
            found |= {f"found_{name}_{dim}": f"{number} of {n_speakers}", f"nmi_{name}_{dim}": nmi}
    return found


def measure_1m(scale: float) -> dict:
    n_speakers = int(6000 * scale)
    vectors, speakers = nested(n_speakers, int(1_000_000 * scale), 512)
    nmi, seconds, cpu, _ = measure(vectors, speakers, n_speakers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds_1m": seconds, "cpu_seconds_1m": cpu, "peak_gib_1m": round(peak, 2), "nmi_1m": nmi}


if __name__ == "__main__":
    main()
