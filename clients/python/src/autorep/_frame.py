"""Fronts as pandas data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autorep.errors import MissingPandasError

if TYPE_CHECKING:
    import pandas

    from autorep.model import Front

# Columns in the order of `autorep front --format csv`: the first eight are a contract, later ones
# come at the end. Counts fit into 64 bits. What may be unknown is NaN, or <NA> where it is no
# float.
COLUMNS: dict[str, str] = {
    "candidate": "string",
    "budget": "int64",
    "relu_count": "int64",
    "relu_total": "int64",
    "accuracy_mean": "float64",
    "accuracy_std": "float64",
    "seeds": "int64",
    "on_front": "bool",
    "kind": "string",
    "seeds_planned": "int64",
    "relu_share": "float64",
    "validation_mean": "float64",
    "id": "string",
    "data": "string",
    "net": "string",
    "strategy": "string",
    "accuracy_se": "float64",
    "p_on_front": "float64",
    "front_low": "float64",
    "front_high": "float64",
    "lies_under": "Int64",
    "selection_bias": "float64",
    "selection_bias_se": "float64",
    "convergence": "string",
    "projection_cost": "float64",
}


def of_front(front: Front) -> pandas.DataFrame:
    """Make a data frame of a front's rows."""
    try:
        import pandas
    except ImportError as error:
        raise MissingPandasError(
            "expected pandas for a data frame, found none: `pip install 'autorep-client[pandas]'`, "
            "or take the rows of `Sweep.front_report()`, which need nothing"
        ) from error

    def cell(value: Any) -> Any:
        return getattr(value, "value", value)  # an enum's text

    columns = {
        name: pandas.Series([cell(getattr(row, name)) for row in front.rows], dtype=dtype)
        for name, dtype in COLUMNS.items()
    }
    frame = pandas.DataFrame(columns)
    frame.attrs["sweep"] = front.sweep
    frame.attrs["hypervolume"] = front.hypervolume
    return frame
