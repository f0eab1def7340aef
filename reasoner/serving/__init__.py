"""Ollama: its server, its tags, and which model was public when."""
