"""A small language model that reasons, in Ollama, and proof that it got better."""

__version__ = "0.1.0"
