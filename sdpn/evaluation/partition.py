"""How well clusters agree with the speakers that a corpus names: figures for analysis alone, marked oracle."""

from dataclasses import dataclass

import numpy as np

from sdpn.errors import SdpnError


@dataclass(frozen=True)
class Agreement:
    """How clusters and speakers divide the same utterances.

    Utterances in no cluster (-1) are left out of all figures but `share_clustered`.

    Attributes:
        n_speakers: speakers among all utterances.
        n_clusters: clusters.
        share_clustered: the share of the utterances that are in a cluster.
        nmi: the normalized mutual information I(cluster; speaker) / (0.5 (H(cluster) + H(speaker))), in [0, 1]: 1 if
            clusters and speakers are the same, about 0 if they have nothing to do with each other. (Strehl & Ghosh,
            Journal of Machine Learning Research 3, 2002, with the arithmetic mean, as scikit-learn has it.)
        purity: the share of the utterances that belong to the most frequent speaker of their cluster: less than 1 if
            clusters join speakers.
        speaker_purity: the share of the utterances that are in the most frequent cluster of their speaker: less than 1
            if speakers are split.
    """

    n_speakers: int
    n_clusters: int
    share_clustered: float
    nmi: float
    purity: float
    speaker_purity: float


def agreement(clusters: np.ndarray, speakers: np.ndarray) -> Agreement:
    """Compare the cluster of each utterance with its speaker.

    Args:
        clusters: (n_utterances,) integers, -1 for none.
        speakers: (n_utterances,) names or numbers.

    Raises:
        SdpnError: the lengths differ, or no utterance is in a cluster.
    """
    clusters, speakers = np.asarray(clusters), np.asarray(speakers)
    if clusters.shape != speakers.shape or clusters.ndim != 1:
        raise SdpnError(f"clusters of {clusters.shape} utterances cannot be compared with speakers of {speakers.shape}")
    names, speaker = np.unique(speakers, return_inverse=True)
    clustered = clusters >= 0
    if not clustered.any():
        raise SdpnError("no utterance is in a cluster: there is nothing to compare with the speakers")
    found, cluster = np.unique(clusters[clustered], return_inverse=True)
    pairs, shared = np.unique(cluster * len(names) + speaker[clustered], return_counts=True)  # the cells that are used
    of_cluster, of_speaker = pairs // len(names), pairs % len(names)
    largest_of_cluster, largest_of_speaker = np.zeros(len(found), np.int64), np.zeros(len(names), np.int64)
    np.maximum.at(largest_of_cluster, of_cluster, shared)
    np.maximum.at(largest_of_speaker, of_speaker, shared)
    joint = _entropy(shared)
    single = _entropy(np.bincount(cluster)), _entropy(np.bincount(speaker[clustered]))
    total = shared.sum()
    # One cluster of one speaker: neither has any entropy, and they are the same
    nmi = 2 * (single[0] + single[1] - joint) / sum(single) if sum(single) > 0 else 1.0
    return Agreement(
        n_speakers=len(names),
        n_clusters=len(found),
        share_clustered=float(np.mean(clustered)),
        nmi=float(np.clip(nmi, 0, 1)),
        purity=float(largest_of_cluster.sum() / total),
        speaker_purity=float(largest_of_speaker.sum() / total),
    )


def _entropy(counts: np.ndarray) -> float:
    """The entropy of a division into parts of these sizes, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log(shares)))
