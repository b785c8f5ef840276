import jinja2
import pytest

from hamlearn.templates import environment


def test_templates_escape_html_unless_told_otherwise_and_refuse_undefined_names():
    pages, cards = environment("hamlearn.report"), environment("hamlearn.report", autoescape=False)
    assert "page.html.jinja" in pages.list_templates()
    assert pages.from_string("{{ text }}").render(text="<b>") == "&lt;b&gt;"
    assert cards.from_string("{{ text }}").render(text="<b>") == "<b>"
    with pytest.raises(jinja2.UndefinedError):
        pages.from_string("{{ text }}").render()
