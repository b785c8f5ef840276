"""Speed, memory and disk use relative to baselines that are measured in the same run."""
