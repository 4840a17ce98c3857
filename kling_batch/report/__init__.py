"""Text, pages and machine formats about plans, runs and ledgers. Sends nothing."""
