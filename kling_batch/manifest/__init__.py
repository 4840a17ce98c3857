"""A YAML file (with its CSV and JSONL tables) becomes jobs; local inputs are hashed and checked."""
