"""Records become pages."""
