"""Stand-in."""

from sdpn.config import to_dict
from sdpn.evaluation.pairs import compare_pairs
from sdpn.evaluation.results import as_json, markdown, write_texts


def write_results(exp, name, rows, settings, seed):
    pairs = compare_pairs(rows)
    return pairs, write_texts(
        exp / "results",
        {"results.md": markdown(name, rows, pairs), "results.json": as_json(name, rows, pairs, to_dict(settings))},
    )
