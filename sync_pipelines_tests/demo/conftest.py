"""The demo is met by the command line, in an empty folder."""

from sync_pipelines_tests.cli.conftest import environment, open_folder, process

__all__ = ["environment", "open_folder", "process"]
