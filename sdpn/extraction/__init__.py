"""x-vectors: from cached features to one vector an utterance (stage 5)."""
