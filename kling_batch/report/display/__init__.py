"""What is shown while a run goes on: live table, plain log, NDJSON."""
