import pytest
import yaml

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.published import PUBLISHED, published_tables

# Rows that the paper prints with an F1 that its own P and R do not give.
MISPRINTED = {
    ("table2", "AdaCAN-BERT-CRF", "twitter2017"): 84.15,
    ("table2", "MAF", "twitter2015"): 73.44,
    ("table5", "UMGF", "twitter2017_to_twitter2015"): 64.84,
}


def test_printed_f1_is_that_of_printed_p_and_r_but_where_it_is_said():
    wrong = {}
    for name, table in published_tables().items():
        for row in table.rows:
            for corpus, scores in row.scores.items():
                if "P" not in scores:
                    continue
                p, r = scores["P"], scores["R"]
                if abs(2 * p * r / (p + r) - scores["F1"]) > 0.011:
                    key = (name, row.words.get("method"), corpus)
                    wrong[key] = round(2 * p * r / (p + r), 2)
    assert wrong == MISPRINTED
    told = " ".join(table.source for table in published_tables().values())
    assert all(f"{value:.2f}" in told for value in MISPRINTED.values())


def test_tables_are_as_large_as_the_papers_and_agree_on_the_model():
    tables = published_tables()
    assert {name: len(table.rows) for name, table in tables.items()} == {
        "table2": 18,
        "table3": 4,
        "table4": 5,
        "table5": 3,
        "table6": 2,
    }
    full = {
        name: [{key: scores[key] for key in ("P", "R", "F1")} for scores in row.scores.values()]
        for name, row in {
            "table2": tables["table2"].rows[-1],
            "table3": tables["table3"].rows[0],
            "table4": tables["table4"].rows[2],
            "table6": tables["table6"].rows[0],
        }.items()
    }
    assert all(scores == full["table2"] for scores in full.values())


def test_ita_gives_no_precision_and_hvpnet_no_types():
    rows = {row.words["method"]: row for row in published_tables()["table2"].rows}
    assert set(rows["ITA"].scores["twitter2015"]) == {"PER", "LOC", "ORG", "MISC", "F1"}
    assert set(rows["HVPNeT"].scores["twitter2017"]) == {"P", "R", "F1"}
    assert [name for name, row in rows.items() if "variant" not in row.words] == [
        "GEI",
        "RDS",
        "MRC-MNER",
        "MNER-QG",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table3": {"rows": []}}, "table3: expected `source` and `rows`"),
        ({"table4": {"source": "", "rows": [{"rounds": 1, "twitter2015": {"P": 101}}]}}, "row 1"),
        ({"table6": {"source": "", "rows": [{"twitter2015": [1, 2]}]}}, "expected percents"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, change, message):
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(PUBLISHED.read_text()) | change))
    with pytest.raises(HamlearnError, match=message):
        published_tables(path)
    with pytest.raises(HamlearnError, match="no such file"):
        published_tables(tmp_path / "absent.yaml")
