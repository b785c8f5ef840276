"""A report without its scripts and their data, for tests of what can be read on it."""

import re

# As a browser reads it: a script ends with the first end tag, whatever stands before that.
OURS = re.compile(
    r'<script(?: type="application/json" class="(?:posts|thumbnails|forms)")?>.*?</script>',
    re.DOTALL,
)


def without_scripts(page: str) -> str:
    """Return the page without the scripts that belong there; any other one is left in it."""
    return OURS.sub("", page)
