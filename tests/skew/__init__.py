"""Calls between the halves of this commit and those of earlier commits, over HTTP, each half in its own environment."""
