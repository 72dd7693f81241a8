"""Self-Distillation: SDFT (arXiv 2601.19897) on a small student, with a served vLLM teacher."""

__version__ = "0.1.0"
