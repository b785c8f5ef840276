import numpy as np

from hamlearn.demo.composition import DECISIONS, compose, render
from hamlearn.demo.scenes import SCENES


def test_every_scene_differs_from_itself_and_from_the_others():
    means = {}
    for decision in DECISIONS[:2]:
        for reading in decision.readings:
            images = []
            for k in range(3):
                rng = np.random.default_rng(k)
                image = render(compose(decision, reading, rng), rng)
                images.append(np.asarray(image.resize((16, 12)), dtype=float))
            assert all((images[0] != other).mean() > 0.5 for other in images[1:])
            means[reading] = np.mean(images, axis=0)
    for one in means:
        for other in means:
            if one != other:
                assert np.abs(means[one] - means[other]).mean() > 15
    assert set(means) <= set(SCENES)
