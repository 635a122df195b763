"""Recordings: finding their files, reading headers and samples, deciding where speech is."""
