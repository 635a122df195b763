"""How fast stage 6 is, and how much memory it takes, beside straightforward implementations measured in the same run.

    python tests/bench/scoring.py [--threads 2] [--scale 1.0]

580,000 trials over 145,000 utterances of 512 dimensions against a cohort of 6,000 (top 300); PLDA of 100,000 x 256 in
5,000 classes, 10 iterations; figures of 40 million trials. Each measurement runs in a process of its own, whose peak
memory is the whole process's, Python and libraries with it. The plain implementations go trial by trial, or class by
class, on a part of the work that takes them about a second, and are scaled up. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

MEASUREMENTS = ("cosine", "asnorm", "plda_score", "plda_train", "metrics")
REPEATS = {"cosine": 3, "plda_score": 3}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--scale", type=float, default=1.0, help="of the work, to try the benchmark itself")
    options.add_argument("--only", choices=MEASUREMENTS, help="one measurement, in this process")
    given = options.parse_args()
    if given.only:
        print(json.dumps(globals()[f"measure_{given.only}"](given.scale)))
        return
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(given.threads))}
    found = {}
    for name in MEASUREMENTS:
        command = [sys.executable, __file__, "--only", name, "--scale", str(given.scale)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        one = json.loads(done.stdout.splitlines()[-1])
        found |= one
        print(", ".join(f"{key} {value:.3g}" for key, value in one.items()), flush=True)
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))


def problem(scale: float):
    """x-vectors of the utterances, of the cohort, and the places of the trials."""
    import numpy as np

    rng = np.random.default_rng(1)
    utterances, cohort = (rng.standard_normal((int(n * scale), 512), dtype=np.float32) for n in (145_000, 6_000))
    return utterances, cohort, rng.integers(len(utterances), size=(2, int(580_000 * scale)))


def measure_cosine(scale: float) -> dict[str, float]:
    import numpy as np

    from sdpn.backend.chain import Chain

    utterances, cohort, (enroll, test) = problem(scale)
    chain = Chain("mean-subtract | length-norm | cosine").fit(cohort)

    def score():
        vectors = chain.transform(utterances)
        return chain.scorer.score_pairs(vectors, vectors, enroll, test)

    seconds, scores = timed(score, "cosine")
    few = 20_000
    mean = cohort.mean(axis=0)
    start = time.perf_counter()
    plain = []
    for one, other in zip(enroll[:few].tolist(), test[:few].tolist(), strict=True):
        a, b = utterances[one] - mean, utterances[other] - mean
        plain.append(float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))))
    plain_seconds = (time.perf_counter() - start) * len(enroll) / len(plain)
    np.testing.assert_allclose(scores[: len(plain)], plain, atol=1e-5)
    return {"cosine_s": seconds, "cosine_plain_s": plain_seconds, "cosine_peak_gib": peak()}


def measure_asnorm(scale: float) -> dict[str, float]:
    import numpy as np

    from sdpn.backend.chain import Chain
    from sdpn.backend.score_norm import cohort_statistics, normalize

    utterances, cohort, (enroll, test) = problem(scale)
    chain = Chain("mean-subtract | length-norm | cosine").fit(cohort)
    others, few = chain.transform(cohort), chain.transform(utterances[:500])
    top_n = min(300, len(others))
    cohort_statistics(chain.scorer, few[:10], others, top_n)
    start = time.perf_counter()
    vectors = chain.transform(utterances)
    raw = chain.scorer.score_pairs(vectors, vectors, enroll, test)
    statistics = cohort_statistics(chain.scorer, vectors, others, top_n)
    normalize(raw, "as", statistics, statistics, enroll, test)
    seconds, memory = time.perf_counter() - start, peak()
    start = time.perf_counter()
    for row, vector in enumerate(few):  # one utterance after the other against every one of the cohort, then sorted
        highest = np.sort([np.dot(vector, other) for other in others])[-top_n:]
        np.testing.assert_allclose(highest.mean(), statistics.top_mean[row])
        if time.perf_counter() - start > 2:
            break
    plain_seconds = (time.perf_counter() - start) * len(utterances) / (row + 1)
    return {"asnorm_s": seconds, "asnorm_plain_s": plain_seconds, "asnorm_peak_gib": memory}


def measure_plda_score(scale: float) -> dict[str, float]:
    import numpy as np

    from sdpn.backend.chain import Chain

    utterances, cohort, (enroll, test) = problem(scale)
    classes = np.arange(len(cohort)) // 10
    cohort = cohort + np.random.default_rng(2).standard_normal((classes[-1] + 1, 512), dtype=np.float32)[classes]
    chain = Chain("mean-subtract | length-norm | plda iterations=2").fit(cohort, classes)

    def score():
        vectors = chain.transform(utterances)
        return chain.scorer.score_pairs(vectors, vectors, enroll, test)

    seconds, scores = timed(score, "plda_score")
    psi, vectors, few = chain.scorer.psi_, chain.transform(utterances[: len(utterances) // 10]), 0
    start = time.perf_counter()
    for trial in np.flatnonzero((enroll < len(vectors)) & (test < len(vectors)))[:3000]:  # Kaldi's LogLikelihoodRatio
        e, t = vectors[enroll[trial]], vectors[test[trial]]
        mean, variance = psi / (psi + 1) * e, 1 + psi / (psi + 1)
        given = -0.5 * (np.log(variance).sum() + ((t - mean) ** 2 / variance).sum())
        without = -0.5 * (np.log(1 + psi).sum() + (t**2 / (1 + psi)).sum())
        np.testing.assert_allclose(scores[trial], given - without, atol=1e-6)
        few += 1
    plain_seconds = (time.perf_counter() - start) * len(enroll) / max(few, 1)
    return {"plda_score_s": seconds, "plda_score_plain_s": plain_seconds}


def measure_plda_train(scale: float) -> dict[str, float]:
    import numpy as np

    from sdpn.backend.chain import Chain

    rng = np.random.default_rng(3)

    def sample(vectors: int, classes: int):
        own = rng.integers(classes, size=vectors)
        return rng.standard_normal((classes, 256))[own] + rng.standard_normal((vectors, 256)), own

    vectors, classes = sample(int(100_000 * scale), int(5_000 * scale))
    start = time.perf_counter()
    Chain("plda iterations=10").fit(vectors, classes)
    seconds = time.perf_counter() - start
    vectors, classes = sample(5_000, 500)  # what the plain one can do: one solve for each class
    start = time.perf_counter()
    ours = Chain("plda iterations=1").fit(vectors, classes).scorer
    small = time.perf_counter() - start
    start = time.perf_counter()
    within, between = class_by_class(vectors, classes)
    plain = time.perf_counter() - start
    np.testing.assert_allclose(ours.transform_ @ within @ ours.transform_.T, np.eye(256), atol=1e-6)
    np.testing.assert_allclose(ours.transform_ @ between @ ours.transform_.T, np.diag(ours.psi_), atol=1e-6)
    return {"plda_train_s": seconds, "plda_train_small_s": small, "plda_train_small_plain_s": plain}


def class_by_class(vectors, classes):
    """One iteration of EM from W = B = I, with a matrix inverse for each class."""
    import numpy as np

    groups = [vectors[classes == own] for own in np.unique(classes)]
    centre = np.mean([group.mean(axis=0) for group in groups], axis=0)
    size = vectors.shape[1]
    within, between = np.zeros((size, size)), np.zeros((size, size))
    for group in groups:
        mean, n = group.mean(axis=0), len(group)
        offsets = group - mean
        mixed = np.linalg.inv(np.eye(size) + n * np.eye(size))
        w = mixed @ (n * (mean - centre))
        rest = mean - centre - w
        between += mixed + np.outer(w, w)
        within += offsets.T @ offsets + n * (mixed + np.outer(rest, rest))
    return within / len(vectors), between / len(groups)


def measure_metrics(scale: float) -> dict[str, float]:
    import numpy as np

    from sdpn.evaluation.metrics import det_curve, det_curve_of

    total, chunk = int(40_000_000 * scale), 1_000_000

    def chunks():
        rng = np.random.default_rng(4)
        for start in range(0, total, chunk):
            is_target = rng.random(min(chunk, total - start)) < 0.1
            yield rng.standard_normal(len(is_target)) + 3 * is_target, is_target

    det_curve(np.arange(3.0), np.arange(3.0)).min_cllr()
    start = time.perf_counter()
    for _ in chunks():
        pass
    making = time.perf_counter() - start
    start = time.perf_counter()
    curve = det_curve_of(chunks())
    found = curve.eer(), curve.min_dcf(0.01), curve.min_dcf(0.05), curve.min_cllr()
    seconds, memory = time.perf_counter() - start - making, peak()
    scores, labels = next(chunks())
    scores, labels = scores[:200_000], labels[:200_000]
    start = time.perf_counter()
    plain = one_by_one(scores.tolist(), labels.tolist())
    plain_seconds = (time.perf_counter() - start) * total / len(scores)
    assert abs(plain - det_curve(scores[labels], scores[~labels]).eer()) < 1e-4
    assert abs(found[0] - plain) < 0.01
    return {"metrics_40m_s": seconds, "metrics_40m_plain_s": plain_seconds, "metrics_40m_peak_gib": memory}


def one_by_one(scores, labels) -> float:
    """The EER by raising the threshold over the sorted trials."""
    targets = sum(labels)
    missed, accepted = 0, len(labels) - targets
    nontargets = accepted
    for _, target in sorted(zip(scores, labels, strict=True)):
        missed, accepted = missed + target, accepted - (not target)
        if missed / targets >= accepted / nontargets:
            return missed / targets
    return 1.0


def timed(work, name: str):
    """The median of the seconds that `work` takes once it is compiled, and what it returns."""
    seconds, result = [], work()
    for _ in range(REPEATS[name]):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2], result


def peak() -> float:
    """The largest memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
