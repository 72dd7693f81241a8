"""Writes the prior-skill suite: items that any instruct model can do in part, each with a check that a program runs."""
