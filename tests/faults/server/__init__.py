"""Bad requests to one server, and failures of its workers."""
