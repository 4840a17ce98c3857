"""What fal's endpoints take and cost, as data with rules. No I/O, no manifests."""
