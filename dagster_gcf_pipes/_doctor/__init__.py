"""Checks a set-up: whether a first call in the cloud can work, and the command that fixes what stands in its way.

It reads only, with one exception: the request that tells whether the function can be reached may start an instance of
it. It does not run the user's code.
"""

from dagster_gcf_pipes._doctor.diagnosis import diagnose
from dagster_gcf_pipes._doctor.report import show
from dagster_gcf_pipes._doctor.setup import Options

__all__ = ["Options", "diagnose", "show"]
