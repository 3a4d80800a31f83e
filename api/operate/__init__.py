"""The operator's page: what the service did, minute by minute, and how well; the history that it is made of."""
