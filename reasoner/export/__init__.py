"""An adapter becomes a file that is ready to serve."""
