"""Round two: pseudo-speakers, and fine-tuning the encoder on them (stages 7 and 8)."""
