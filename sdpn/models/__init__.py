"""Networks: encoders from log-mel features to embeddings, and the projection head (stage 4)."""
