"""What `make bench` runs: our speed as ratios to a floor that is timed in the same run."""
