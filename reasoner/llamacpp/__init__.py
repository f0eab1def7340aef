"""Knows llama.cpp, and no other folder does: its programs, its files, its sampler."""
