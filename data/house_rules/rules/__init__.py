"""One module a house rule: its words, what its requests are about, and the one right answer."""
