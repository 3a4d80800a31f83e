"""Commands that operators run in addition to the service: API keys and clean-up of stored images."""
