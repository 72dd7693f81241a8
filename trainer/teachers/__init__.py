"""The teachers that a student learns from: its own moving average, and the one that vLLM serves."""
