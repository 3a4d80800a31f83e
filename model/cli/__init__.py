"""The operator's commands, each run as `python -m cli.NAME`."""
