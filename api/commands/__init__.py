"""Commands that operators run beside the service: API keys and clean-up of stored images."""
