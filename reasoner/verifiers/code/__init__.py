"""Judges code: a task is read, its tests run in the sandbox, and their outcomes become one verdict."""
