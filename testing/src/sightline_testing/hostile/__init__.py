"""What attackers send: mutants, bombs, broken requests and payloads, all made by code."""
