"""Problems and a verifier become an adapter."""
