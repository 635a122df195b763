"""Evaluation: error rates and the tables that show them (stage 6)."""
