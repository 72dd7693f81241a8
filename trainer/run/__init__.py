"""The run directory: journal, whole checkpoints, files that are never half-written, progress; and the machine."""
