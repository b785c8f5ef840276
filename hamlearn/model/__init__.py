"""The model of the paper, one file per idea, read in the order of its Figure 2."""
