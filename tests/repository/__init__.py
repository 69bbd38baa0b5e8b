"""What a contributor and a release rely on: the documents of the repository, its workflows and its metadata."""
