"""One run's training: its inputs, arguments, rollouts, micro-batches, and the loop that learns from them."""
