"""Features: log-mel filterbanks, cached on disk and memory-mapped (stage 2)."""
