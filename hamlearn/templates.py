"""The Jinja environment of the report, the page that serves a model, and the model card."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(package: str, *, autoescape: bool = True) -> Environment:
    """Return an environment for the templates in the folder `templates` of a package.

    Undefined names are errors.

    Args:
        package: dotted name, for example `hamlearn.report`.
        autoescape: False for output other than HTML.
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
