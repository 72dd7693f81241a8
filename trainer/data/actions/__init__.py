"""What an answer does: the tool calls in a text, in whatever spelling, and whether they are the golden ones."""
