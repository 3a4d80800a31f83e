"""Uploads on their way in: forms, base64 in JSON, checks and the image store. The formats stand in utils.py."""
