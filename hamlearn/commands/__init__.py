"""Groups of commands of the command line, beside those of the workflow's stages."""
