"""A run launcher that can resume runs, as those for Kubernetes and ECS can. `DefaultRunLauncher` cannot."""

from collections.abc import Mapping
from typing import Any

from dagster._core.launcher.base import LaunchRunContext, ResumeRunContext, RunLauncher
from dagster._serdes import ConfigurableClass, ConfigurableClassData


class ResumingRunLauncher(RunLauncher, ConfigurableClass):
    """The caller starts the run workers itself."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "ResumingRunLauncher":
        return cls(inst_data, **config_value)

    @property
    def supports_resume_run(self) -> bool:
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        pass

    def resume_run(self, context: ResumeRunContext) -> None:
        pass

    def terminate(self, run_id: str) -> bool:
        return False
