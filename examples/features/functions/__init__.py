"""What the snippets call: each function of `main.py` is an entry point."""
