"""The earlier name of `python -m commands.index_reports`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("commands.index_reports", run_name="__main__")
