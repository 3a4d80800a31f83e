"""What api and model agree on, byte for byte: messages, errors, the queue, and who is alive.

Nothing is imported here: gunicorn's master and the doctor import the parser of settings, and nothing else of wire.
"""
