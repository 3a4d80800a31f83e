"""The api's side of the queue: submission of jobs and their replies."""
