import torch

from hamlearn.model.visual import VisualEmbedding
from tests.model.tiny import CLASSES, IMAGE_WIDTH, OBJECT_WIDTH, usual_batch


def make():
    torch.manual_seed(0)
    return VisualEmbedding(IMAGE_WIDTH, OBJECT_WIDTH, CLASSES, class_width=8, width=12)


def embed(module, batch):
    return module(batch.image, batch.objects, batch.object_classes, batch.has_image)


def test_equals_equations_2_and_3_object_by_object():
    module, batch = make(), usual_batch()
    nodes = embed(module, batch)
    for row in range(len(batch)):
        if not batch.has_image[row]:
            continue
        image = module.image.weight @ batch.image[row] + module.image.bias
        torch.testing.assert_close(nodes[row, 0], image)
        for place in range(int(batch.object_mask[row].sum())):
            kind = int(batch.object_classes[row, place])
            feature = module.object.weight @ batch.objects[row, place] + module.object.bias
            content = image if kind == CLASSES else feature
            embedded = module.class_projection.weight @ module.classes.weight[kind]
            torch.testing.assert_close(nodes[row, 1 + place], content + embedded)


def test_the_picture_stands_in_for_an_object_only_where_nothing_was_detected():
    module, batch = make(), usual_batch()
    before = embed(module, batch)
    batch.objects[3, 0] = 100.0
    torch.testing.assert_close(embed(module, batch), before)
    batch.objects[0, 0] = 100.0
    assert not torch.allclose(embed(module, batch), before)


def test_what_lies_in_the_place_of_a_missing_picture_is_ignored():
    module, batch = make(), usual_batch()
    batch.image[2] = torch.nan
    batch.objects[2] = torch.inf
    batch.object_classes[2] = -1
    nodes = embed(module, batch)
    assert nodes.isfinite().all()
    nodes.sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in module.parameters())


def test_half_precision_features_are_taken():
    module, batch = make(), usual_batch()
    batch.image, batch.objects = batch.image.half(), batch.objects.half()
    assert embed(module, batch).dtype == torch.float32
