"""The texts of the Lua scripts, which are next to this module."""

from functools import cache
from pathlib import Path


@cache
def text_of(name: str) -> str:
    """Return the script of a file."""
    return (Path(__file__).parent / f"{name}.lua").read_text("utf-8")
