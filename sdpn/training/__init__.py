"""Training: losses, prototypes, the EMA teacher, schedules, checkpoints (stage 4)."""
