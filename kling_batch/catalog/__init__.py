"""What fal's endpoints take and cost, as data with rules. No I/O, no manifests."""

#: The latest month in which any parameter or price of the catalogue was read; `--version` says it.
DATED = "2026-11"
