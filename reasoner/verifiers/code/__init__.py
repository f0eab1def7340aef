"""The verifier `code`: a task is read, its tests run in the sandbox, and the outcomes become one verdict."""
