"""Turns any name of a base into one checked model folder."""
