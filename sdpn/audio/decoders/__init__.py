"""Decoders and parsers of the formats that libsndfile does not read, or not in full."""
