from hamlearn.progress import tracked


def test_progress_without_a_terminal_is_ten_lines(caplog):
    caplog.set_level("INFO")
    assert list(tracked(range(95), 95, "pictures")) == list(range(95))
    assert len(caplog.messages) == 10
    assert caplog.messages[-1] == "pictures: 95 of 95"
