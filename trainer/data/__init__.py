"""Rows of data files, their messages and actions, and prompts as token ids."""
