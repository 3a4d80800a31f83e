"""Problems of an installation and their remedies. Needs no package, only the launcher and the client."""
