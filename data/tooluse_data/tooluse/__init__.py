"""Writes the tool-use data: invented tools, and requests that have exactly one right answer."""
