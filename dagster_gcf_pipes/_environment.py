"""The environment variables that `dagster-gcf-pipes dev` sets for the command that it runs."""

from typing import Final

BUCKET_VARIABLE: Final = "PIPES_BUCKET"
"""The bucket in the emulator: `PipesCloudFunctionClient(bucket=EnvVar("PIPES_BUCKET"))`."""

LOCAL_FUNCTIONS_VARIABLE: Final = "GCF_PIPES_LOCAL_FUNCTIONS"
"""The functions that run on this machine: a JSON object with their names and URLs.

`run(function=...)` calls them in place of deployed functions, and looks nothing up.
"""
