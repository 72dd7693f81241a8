"""Divergences between student and teacher from their hidden states: pure functions, a chunk of tokens at a time."""
