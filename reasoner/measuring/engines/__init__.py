"""Asks any model in one way: transformers, vLLM, llama.cpp in process, Ollama, an OpenAI-compatible URL.

Every engine gets the same sampler settings, all of them, and where it takes token ids, the ids of the model's own
tokenizer and chat template; a BOS is there once, or not at all. What an engine cannot do as asked is refused, or
stands in its `facts`. What this package does not do: it knows no problems and judges no completion.
"""
