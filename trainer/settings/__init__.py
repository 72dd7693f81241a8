"""The settings of every subcommand, and where each value comes from."""
