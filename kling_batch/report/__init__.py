"""What people and machines read about plans, runs and ledgers. Sends nothing."""
