"""The harness of the fault tests: a load that never waits, a ledger of every request, the service and its processes."""
