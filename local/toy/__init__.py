"""The embedded default corpus: synthesized speakers, sentences and recording channels."""
