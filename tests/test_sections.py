from hamlearn.settings import load_settings


def test_a_single_name_stands_for_a_list_of_one():
    assert load_settings('{"detector": "demo"}').detector == ["demo"]
    assert load_settings('{"detector": ["demo", "mask_rcnn"]}').detector == ["demo", "mask_rcnn"]
