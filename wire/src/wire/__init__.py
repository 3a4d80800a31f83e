"""What api and model agree on, byte for byte: messages, errors, the queue, and who is alive.

Nothing is imported here: gunicorn's master and the doctor import the parser of settings, and nothing else of wire.
"""

# The version of Sightline. The client is a distribution of its own and repeats it; a test compares the two.
__version__ = "0.1.0"
