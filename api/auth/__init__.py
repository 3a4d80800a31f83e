"""Who may send requests: API keys, rate limits and operator sessions. Not: what a request is about."""
