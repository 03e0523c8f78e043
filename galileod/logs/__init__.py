"""The log: one form for all that is logged, warned or left uncaught. Decides nothing else."""
