"""From a YAML file, with its CSV and JSONL tables, to jobs; local inputs are hashed and checked."""
