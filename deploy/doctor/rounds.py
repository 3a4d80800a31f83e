"""The rounds of the doctor: the installation, its state, its queue, and the service as a client meets it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from doctor import bundles, environment, places, stores, workers
from launcher import readiness, settings, state
from launcher.errors import LauncherError
from launcher.settings import REPOSITORY, Settings
from sightline import examination
from sightline.client import Client
from sightline.findings import Page, bad, wants_colour

SUBJECTS = ("redis-server", "worker versions", *examination.SUBJECTS)


def make_rounds(url: str, told: Mapping[str, str]) -> int:
    """Show what is found, as it is found; return the exit status."""
    page = Page(sys.stdout, is_coloured=wants_colour(sys.stdout, told))
    try:
        own = settings.read(told)
    except LauncherError as fault:
        page.section("Settings", [bad("settings", str(fault), "set it otherwise, or leave it out")], SUBJECTS)
        return page.end()
    address = url or readiness.base_url(own.host, own.port)
    _look_at_installation(page, own)
    try:
        client = Client(address, key=told.get("SIGHTLINE_KEY", ""))
    except ValueError as fault:
        page.section("Service", [bad("address", str(fault), "--url or SIGHTLINE_URL names it")], SUBJECTS)
        return page.end()
    with client:
        page.section(f"Service at {client.url}", examination.of_service(client), SUBJECTS)
    return page.end()


def _look_at_installation(page: Page, own: Settings) -> None:
    running = state.holder(own.state_dir)
    page.section(f"Installation in {REPOSITORY}", environment.findings(REPOSITORY, own), SUBJECTS)
    page.section(f"Models in {bundles.folder(own)}", bundles.findings(own), SUBJECTS)
    page.section(f"State in {own.state_dir}", places.findings(own, running), SUBJECTS)
    if stores.are_named(own):
        page.section("Stores that hosts share", stores.findings(own), SUBJECTS)
    if running is not None or not own.uses_own_redis:
        page.section("Workers and queue", workers.findings(own), SUBJECTS)
