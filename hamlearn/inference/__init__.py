"""A trained model that is handed over, and entities from posts that are no corpus."""
