"""The Flask application: its parts and how they are connected. `python app.py` serves it."""

import os
import re
import sys
from pathlib import Path

if __name__ == "__main__":
    # Gunicorn takes this process over, rather than being called: gevent has to be there before the rest of this file.
    # It reads the settings.
    CONFIGURATION = str(Path(__file__).resolve().with_name("gunicorn.conf.py"))
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", CONFIGURATION])  # noqa: S606


from flask import Flask

import error_handlers
import offload
import settings
import views
from auth import access
from images import uploads
from images.multipart import MAX_FIELD_BYTES, MemoryRequest
from observability import health, metrics, tracing
from openapi import document
from operate import routes as operate_routes
from pages import assets, documentation, samples, shell
from pages import routes as page_routes
from predict import async_jobs, candidates, job_queue, previews
from protocols import routes
from reports import idempotency, record
from review import routes as review_routes
from server import edge, path_prefix
from server.load_shedding import LoadShedder
from teach import routes as teach_routes
from wire import __version__
from wire.settings_parser import SettingError

HERE = Path(__file__).resolve().parent
_HOST_NAME = re.compile(r"(?:\*?\.)?[^/*:]+(?::[0-9]+)?")


def create_app() -> Flask:
    """Create the application; raise SettingError where settings cannot be used together."""
    record.lines_path()
    app = edge.Site(__name__, static_folder=None, template_folder=HERE / "templates")
    app.request_class = MemoryRequest
    # "//" is no other way to write "/": an answer instead of a redirect whose address the client had a hand in.
    app.url_map.merge_slashes = False
    app.config.update(
        UPLOAD_FOLDER=settings.UPLOAD_FOLDER,
        SECRET_KEY=settings.SECRET_KEY,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=MAX_FIELD_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_FIELD_BYTES,
        TRUSTED_HOSTS=_trusted_hosts(),
    )
    app.jinja_env.globals["version"] = __version__
    assets.install(app, {"": HERE / "assets", samples.PREFIX: samples.folder()})
    samples.install(app)
    documentation.install(app)
    shell.install(app)
    idempotency.install(app)
    previews.install(app)
    candidates.install(app)
    # What "not set since" means for app.config["UPLOAD_FOLDER"].
    app.extensions["sightline.upload_folder"] = settings.UPLOAD_FOLDER
    app.register_blueprint(views.router)
    app.register_blueprint(document.router)
    for view in (document.openapi, document.docs, health.livez, health.startupz, health.readyz):
        access.open_to_all(view)
    app.register_blueprint(review_routes.router)
    app.register_blueprint(review_routes.door)
    app.register_blueprint(page_routes.router)
    app.register_blueprint(teach_routes.router)
    app.register_blueprint(operate_routes.router)
    app.register_blueprint(async_jobs.router)
    app.register_blueprint(previews.router)
    app.register_blueprint(candidates.router)
    app.register_blueprint(routes.router)
    error_handlers.install(app, pages={"app_router.upload_image": views.failure_page})
    edge.install(app)
    metrics.install(app, job_queue.queue_state)
    health.install(app, job_queue.refresh_queue_state, _check_storage)
    app.extensions["sightline.load_shedder"] = LoadShedder(job_queue.room_fault, job_queue.queue_bound)
    access.install(app)
    tracing.install(app)
    path_prefix.install(app)
    return app


def _check_storage() -> None:
    offload.run(uploads.image_store().check_writable)


def _trusted_hosts() -> list[str] | None:
    """Return the host names to answer to, None for any; health checks use this machine's own."""
    names = [name.lower() for name in settings.TRUSTED_HOSTS.replace(",", " ").split()]
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            hint = "write a host name, or .example.org with all below it"
            raise SettingError(f"TRUSTED_HOSTS={settings.TRUSTED_HOSTS!r}: {name!r} is no host name; {hint}.")
    names = [name.removeprefix("*") for name in names]
    return [*names, "localhost", "127.0.0.1"] if names else None


app = create_app()
