"""The report of one or several runs: what a run directory holds, as a page and as plots."""
