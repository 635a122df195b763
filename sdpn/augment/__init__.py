"""Augmentation: noise and reverberation banks, and the views that training sees (stages 3 and 4)."""
