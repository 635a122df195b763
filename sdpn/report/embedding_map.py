"""The embedding map of an experiment: a sample of its training x-vectors in two dimensions, with their clusters."""

import json
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sdpn.console import timed
from sdpn.files import write_text
from sdpn.scoring.fitting import versions_of
from sdpn.scoring.plan import Plan
from sdpn.shards import Work

MOST_POINTS = 1500
FEWEST_POINTS = 10  # below which there is nothing to see


def embedding_map(plan: Plan) -> dict[str, Any] | None:
    """Make `results/map.json` of the experiment, unless it is there and what it depends on is unchanged.

    The x-vectors, with their mean subtracted and scaled to length 1, are taken to two dimensions by t-SNE (van der
    Maaten and Hinton, JMLR 9, 2008) from a start by principal components. Near points are alike; the distance between
    groups far apart says little.

    Returns:
        what it holds: `id`, `x`, `y`, `cluster` of every point (-1 for none, as where clusters have not been made of
        these x-vectors with these settings); None where there are too few x-vectors.
    """
    seed, system = plan.seed, plan.systems[0]
    train, clusters = plan.vectors(system, plan.corpus.train), plan.clusters(system)
    known = clusters.work.stale_reason() is None  # else those there may be of an earlier network or of other settings
    inputs = {
        "training x-vectors": train.identity,
        "clusters": clusters.work if known else None,
        "points": MOST_POINTS,
        "seed": seed,
        "versions": versions_of("map"),
    }
    path = plan.exp_dir / "results" / "map.json"
    work = Work(path.parent, "map", inputs)
    if work.stale_reason() is not None:
        found = train.read()
        labels = clusters.labels if known else np.full(len(found.ids), -1)
        chosen = np.arange(len(found.ids))
        if len(chosen) > MOST_POINTS:
            chosen = np.sort(np.random.default_rng([seed, 10]).choice(len(chosen), MOST_POINTS, replace=False))
        work.begin()
        with timed(f"map of {len(chosen)} training x-vectors"):
            points = project(found.vectors[chosen] - found.vectors.mean(axis=0), seed)
        tree = {
            "id": [found.ids[row] for row in chosen],
            "x": [round(float(x), 3) for x in points[:, 0]],
            "y": [round(float(y), 3) for y in points[:, 1]],
            "cluster": labels[chosen].tolist(),
        }
        write_text(path, json.dumps(tree) + "\n")
        work.finish([path])
    tree = json.loads(path.read_text(encoding="utf-8"))
    return tree if len(tree["id"]) >= FEWEST_POINTS else None


def project(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Vectors (n_vectors, n_dimensions) in two dimensions, by their directions: (n_vectors, 2).

    Equal inputs give equal points. Fewer than FEWEST_POINTS vectors stay at the origin.
    """
    if len(vectors) < FEWEST_POINTS:
        return np.zeros((len(vectors), 2))
    from sklearn.manifold import TSNE

    directions = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    perplexity = min(30, (len(vectors) - 1) / 3)
    with threadpool_limits(1):  # several threads would add up the forces in any order
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(directions)
