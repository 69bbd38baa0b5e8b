"""Tests of `dagster_gcf_pipes.testing`, the kit with which users test their functions and assets."""
