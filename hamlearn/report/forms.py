"""A table of the page as CSV and as LaTeX, to be copied from it."""

import pandas as pd

from hamlearn.evaluation import readable
from hamlearn.evaluation.tables import with_cells
from hamlearn.report.tables import Table


def forms(table: Table) -> dict[str, str]:
    """Return a table as CSV and as LaTeX, to be copied."""
    columns = [table.corner or "", *table.columns]
    if table.groups:
        over = [name for name, span in table.groups for _ in range(span)]
        columns[1:] = [f"{name} {column}" for name, column in zip(over, table.columns, strict=True)]
    rows, marked = [], []
    for row in table.rows:
        name = f"{row.name} ({row.note})" if row.note else row.name
        values = [f"{one.text} ({one.below})" if one.below else one.text for one in row.cells]
        rows.append([name, *values])
        bold = [place for place, one in enumerate(row.cells, 1) if one.rank == 1]
        marked.append(readable.Row([name, *values], bold=bold))
    title, _, about = table.caption.partition(". ")
    part = readable.Part(columns, marked, notes=table.notes)
    frame = with_cells(pd.DataFrame(rows, columns=[str(n) for n in range(len(columns))]))
    frame.columns = pd.Index(columns)
    return {
        "CSV": frame.to_csv(index=False, lineterminator="\n"),
        "LaTeX": readable.Readable(title.rstrip("."), about, [part]).latex(),
    }
