"""Stage 6: back-ends fitted, trials scored, error rates computed."""
