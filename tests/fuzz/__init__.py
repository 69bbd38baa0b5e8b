"""Hostile requests and chunks, and what the two halves must do with them."""
