"""The client of fal's queue, storage and platform API. Knows no manifest and no ledger."""
