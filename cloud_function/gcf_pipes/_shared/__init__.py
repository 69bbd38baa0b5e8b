"""What both halves share: the wire protocol, Cloud Storage, and the checks of what the other half sends.

The Dagster side imports no other private module of this package. Nothing here imports a module outside this package.
"""
