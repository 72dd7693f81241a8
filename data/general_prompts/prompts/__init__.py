"""Kinds of general prompts: their templates, and what is put into them."""
