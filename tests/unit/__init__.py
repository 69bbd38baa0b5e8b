"""Tests of the pure parts: no server, no bucket, no network.

Hypothesis does not measure the time of examples: on a busy machine it means nothing.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
