"""Functions, an emulator and commands on this machine: `dagster_gcf_pipes.local`, `dev` and `init`."""
