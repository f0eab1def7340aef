"""Any name of a base becomes one checked model folder."""
