"""Objects that were found elsewhere: a reader for each format in which people keep them."""
