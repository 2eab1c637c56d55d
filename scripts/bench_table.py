"""What halving finds of a full grid, on the learning curves of one that was trained, and beside it
MO-ASHA of Syne Tune on the same curves, in an environment of its own."""

import json
import sys
import tempfile

from bench_figure import ROOT, Unmeasured, figure, run
from bench_load import load
from bench_peers import CACHE, environment

TABLE = "e2e/bench/data/fashion-grid.json"
MANIFEST = "manifests/fashion-grid.yaml"

# How the grid is halved, in every order the same: after the first epoch one search in eight goes on, to
# its end. That is four for each budget. (Chosen on this table: one in ten, three for each, finds 0.989 at
# 0.171 of the epochs.)
HALVING = ["--grace", 1, "--reduction", 8, "--rungs", 1]
ORDERS = 50
WORKERS = [1, 4, 16]

SYNE_TUNE = ["syne-tune==0.16.0"]

COMMAND = "make bench ONLY=table"


def at(workers):
    return f"{workers}_worker{'s' if workers > 1 else ''}"


def table(autorep):
    if not (ROOT / TABLE).is_file():
        raise Unmeasured(
            f"table: {TABLE} is not there; `autorep run {MANIFEST} --store STORE`, then"
            f" `autorep-bench tabulate --store STORE --out {TABLE} fashion-grid`"
        )
    workers = ",".join(map(str, WORKERS))
    arguments = ["--table", TABLE, "--manifest", MANIFEST, "--orders", ORDERS, "--workers", workers]
    ours = load(autorep, "table", *arguments, *HALVING)
    figures = []
    for found in ours["by_workers"]:
        name = at(found["workers"])
        share, least = (found["hypervolume_share"][it] for it in ("median", "least"))
        epochs, most = (found["epochs_share"][it] for it in ("median", "most"))
        unit = "of the full grid's"
        figures += [
            figure(f"table.hypervolume_{name}", round(share, 4), unit, 0.99, COMMAND, "higher"),
            figure(f"table.hypervolume_least_{name}", round(least, 4), unit, None, COMMAND, "higher"),
            figure(f"table.epochs_{name}", round(epochs, 4), unit, 0.2, COMMAND),
            figure(f"table.epochs_most_{name}", round(most, 4), unit, None, COMMAND),
        ]
    try:
        python = environment(CACHE / "syne-tune", SYNE_TUNE)
    except (Unmeasured, OSError) as error:
        print(f"bench: SKIPPED Syne Tune, of which there is no environment: {error}", file=sys.stderr)
        return figures
    return figures + moasha(python, ours)


def moasha(python, ours):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(ours, file)
        file.flush()
        script = ROOT / "scripts" / "peers" / "moasha_table.py"
        out, _, _ = run([python, str(script), TABLE, file.name])
    theirs = json.loads(out)
    # Both read the same table, and mean the same by a hypervolume and by an epoch.
    ours_full, theirs_full = ours["full"], theirs["full"]
    if abs(ours_full["hypervolume"] - theirs_full["hypervolume"]) > 1e-12:
        raise Unmeasured(f"expected one hypervolume of the full grid, found {ours_full} and {theirs_full}")
    if ours_full["epochs"] != theirs_full["epochs"]:
        raise Unmeasured(f"expected one cost of the full grid, found {ours_full} and {theirs_full}")
    figures = []
    for found in theirs["by_workers"]:
        name = f"{found['variant']}_{at(found['workers'])}"
        unit = "of the full grid's"
        shares = [
            ("hypervolume_at_our_epochs", found["hypervolume_share_at_our_epochs"], "higher"),
            ("hypervolume", found["hypervolume_share"], "higher"),
            ("epochs", found["epochs_share"], "lower"),
        ]
        figures += [
            figure(f"table.moasha_{what}_{name}", round(value, 4), unit, None, COMMAND, better)
            for what, value, better in shares
        ]
    return figures


def names():
    ours = [
        f"table.{what}_{at(workers)}"
        for workers in WORKERS
        for what in ("hypervolume", "hypervolume_least", "epochs", "epochs_most")
    ]
    theirs = [
        f"table.moasha_{what}_{variant}_{at(workers)}"
        for workers in WORKERS
        for variant in ("shipped", "ranked", "ranked_default")
        for what in ("hypervolume_at_our_epochs", "hypervolume", "epochs")
    ]
    return tuple(ours + theirs)


BENCHES = [(names(), table)]
