"""The Flask application: which parts there are and how they fit together. `python app.py` serves it."""

import os
import sys
from pathlib import Path

import settings

if __name__ == "__main__":
    # Gunicorn takes this process over, rather than being called: gevent has to be there before the rest of this file.
    CONFIGURATION = str(Path(__file__).resolve().with_name("gunicorn.conf.py"))
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", CONFIGURATION])  # noqa: S606


from flask import Flask
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.wrappers import Request

import error_handlers
import views
from auth import access
from images.multipart import MAX_FIELD_BYTES, MemoryRequest
from observability import health, metrics, tracing
from openapi import document
from predict import async_jobs
from protocols import routes
from reports import feedback
from review import routes as review_routes
from server import edge

HERE = Path(__file__).resolve().parent


class LazySession(SecureCookieSessionInterface):
    """Opens the signed cookie only where there is one; programs send none."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Give the session of a request."""
        if self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)


def create_app() -> Flask:
    """Make the application; settings that contradict each other are refused here."""
    feedback.paths()
    app = Flask(__name__, static_folder=HERE / "assets", static_url_path="/assets", template_folder=HERE / "templates")
    app.request_class = MemoryRequest
    # "//" is no other way to write "/": an answer instead of a redirect whose address the client had a hand in.
    app.url_map.merge_slashes = False
    app.session_interface = LazySession()
    app.config.update(
        UPLOAD_FOLDER=settings.UPLOAD_FOLDER,
        SECRET_KEY=settings.SECRET_KEY,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=MAX_FIELD_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_FIELD_BYTES,
        TRUSTED_HOSTS=_trusted_hosts(),
    )
    # What "not set since" means for app.config["UPLOAD_FOLDER"].
    app.extensions["sightline.upload_folder"] = settings.UPLOAD_FOLDER
    app.register_blueprint(views.router)
    app.register_blueprint(health.router)
    app.register_blueprint(document.router)
    for view in (document.openapi, document.docs):
        access.open_to_all(view)
    app.register_blueprint(review_routes.router)
    app.register_blueprint(review_routes.door)
    app.register_blueprint(async_jobs.router)
    app.register_blueprint(routes.router)
    error_handlers.install(app, pages={"app_router.upload_image": views.failure_page})
    edge.install(app)
    metrics.install(app)
    access.install(app)
    tracing.install(app)
    return app


def _trusted_hosts() -> list[str] | None:
    """Give the names of this service; None for any. Health checks ask this machine by its own."""
    told = settings.TRUSTED_HOSTS.replace(",", " ").split()
    return [*told, "localhost", "127.0.0.1"] if told else None


app = create_app()
