"""Tests of the pure parts: no server, no bucket, no network.

Hypothesis measures neither an example's duration nor the speed of making one: on a busy machine both say nothing.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
