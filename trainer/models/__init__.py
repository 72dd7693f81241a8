"""The student: its weights, its hidden states, its output head, its completions."""
