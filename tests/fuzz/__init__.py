"""What a hostile caller may send, and what the entry point must do with it."""
