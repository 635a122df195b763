"""Back-ends: from x-vectors to scores (stage 6)."""
