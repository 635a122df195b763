"""Corpora: manifests, cuts, trial lists and their checks (stages 0 and 1)."""
