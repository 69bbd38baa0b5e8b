"""The functions that the benchmark calls: each folder is one deployable function, with the behaviours of all."""
