"""Knows this computer, and what the project brings to it."""
