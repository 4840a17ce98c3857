"""Files in the output folder: download, verify, publish under a final name."""
