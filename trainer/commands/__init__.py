"""The subcommands, one file each: what comes in, what is done in which order, what goes out."""
