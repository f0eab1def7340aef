"""Whether a verifier may be a reward."""
