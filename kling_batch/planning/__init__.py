"""What a run would do with each job, why, and for how much. Sends nothing."""
