"""The clock: times what the judge has passed."""
