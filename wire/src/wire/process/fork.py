"""State that is reset in a forked child."""

from __future__ import annotations

import os
import weakref
from typing import Any

_renewables: weakref.WeakSet[Any] = weakref.WeakSet()


def renew_after_fork(renewable: Any) -> None:
    """Register an object whose `renew` is called in every forked child; it must not wait for anything."""
    _renewables.add(renewable)


def _renew_all() -> None:
    for renewable in list(_renewables):
        renewable.renew()


os.register_at_fork(after_in_child=_renew_all)
