"""Says whether a verifier may be a reward."""
