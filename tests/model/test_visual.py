import torch

from hamlearn.model.visual import VisualEmbedding
from tests.model.tiny import CLASSES, SIZES, usual_batch


def make():
    torch.manual_seed(0)
    return VisualEmbedding(SIZES, class_width=8, width=12)


def test_equals_equations_2_and_3_object_by_object():
    module, visual = make(), usual_batch().visual
    nodes = module(visual)
    for row in range(4):
        if not visual.has_image[row]:
            continue
        image = module.image.weight @ visual.image[row] + module.image.bias
        torch.testing.assert_close(nodes[row, 0], image)
        for place in range(int(visual.objects.mask[row].sum())):
            kind = int(visual.objects.classes[row, place])
            feature = (
                module.object.weight @ visual.objects.features[row, place] + module.object.bias
            )
            content = image if kind == CLASSES else feature
            embedded = module.class_projection.weight @ module.classes.weight[kind]
            torch.testing.assert_close(nodes[row, 1 + place], content + embedded)


def test_the_picture_stands_in_for_an_object_only_where_nothing_was_detected():
    module, visual = make(), usual_batch().visual
    before = module(visual)
    visual.objects.features[3, 0] = 100.0
    torch.testing.assert_close(module(visual), before)
    visual.objects.features[0, 0] = 100.0
    assert not torch.allclose(module(visual), before)


def test_an_object_of_a_class_that_training_never_saw_has_no_class_embedding():
    module, visual = make(), usual_batch().visual
    before = module(visual)
    visual.objects.classes[0, 0] = CLASSES + 1
    visual.objects.classes[1, 0] = CLASSES + 700
    nodes = module(visual)
    for row in (0, 1):
        features = visual.objects.features[row, 0]
        expected = module.object.weight @ features + module.object.bias
        torch.testing.assert_close(nodes[row, 1], expected)
        nodes[row, 1] = before[row, 1]
    assert torch.equal(nodes, before)


def test_what_lies_in_the_place_of_a_missing_picture_is_ignored():
    module, visual = make(), usual_batch().visual
    visual.image[2] = torch.nan
    visual.objects.features[2] = torch.inf
    visual.objects.classes[2] = -1
    nodes = module(visual.masked(torch.float32))
    assert nodes.isfinite().all()
    nodes.sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in module.parameters())


def test_half_precision_features_are_taken():
    module, visual = make(), usual_batch().visual
    visual = visual.map(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)
    assert module(visual.masked(torch.float32)).dtype == torch.float32
