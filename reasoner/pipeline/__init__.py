"""Which stage is next, for a run and for the checkpoints of a long one."""
