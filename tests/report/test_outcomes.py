import pytest

from hamlearn.evaluation.scores import score
from hamlearn.report.outcomes import CORRECT, MISSED, SPURIOUS, WRONG_TYPE, outcomes

GOLD = ("B-PER", "I-PER", "O", "B-LOC", "O", "B-ORG", "O")


@pytest.mark.parametrize(
    ("predicted", "of_predicted", "of_gold"),
    [
        (GOLD, [CORRECT] * 3, [CORRECT] * 3),
        (("O",) * 7, [], [MISSED] * 3),
        (
            ("B-PER", "O", "O", "B-ORG", "O", "I-ORG", "B-MISC"),
            [SPURIOUS, WRONG_TYPE, CORRECT, SPURIOUS],
            [MISSED, WRONG_TYPE, CORRECT],
        ),
    ],
)
def test_each_entity_is_told_from_both_sides(predicted, of_predicted, of_gold):
    told = outcomes(GOLD, predicted)
    assert [one.outcome for one in told.predicted] == of_predicted
    assert [one.outcome for one in told.gold] == of_gold
    assert told.right == (predicted == GOLD)
    right = score([GOLD], [predicted]).micro.correct
    assert right == of_predicted.count(CORRECT) == of_gold.count(CORRECT)
