"""Does what the plan says: submit, poll, download, reconcile. Knows fal by protocol only."""
