"""The only folder that knows llama.cpp: its programs, its files, its sampler."""
