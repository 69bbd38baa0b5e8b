"""Our side of Cloud Storage, against an emulator behind a fault proxy, and against servers that misbehave."""
