"""The gunicorn worker: connections, client timeouts, load shedding, responses and security headers. No route."""
