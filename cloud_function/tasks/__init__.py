"""The tasks of the example function. Each is a function of the event and the Pipes context of one call."""
