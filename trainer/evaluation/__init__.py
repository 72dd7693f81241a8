"""What a model can do: checks of single answers, suites of tasks, and comparisons of two models."""
