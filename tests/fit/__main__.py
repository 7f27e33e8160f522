"""`make fit`: synthesize the points that have changed, fit the estimator to them, and report.

    python -m tests.fit [--stale]

With `--stale`, only tell which points have changed. What is written belongs to the sources:
`points.json`, `residuals.md` and `residuals.svg` here, and `gen/estimate/fit.json`. The exit code
is 1 when points that were not fitted are farther off than what is asked.
"""

import sys
import warnings

from amaranth.hdl import UnusedElaboratable

from qkloom.gen.estimate.model import Fit
from qkloom.tb.yosys import find_full_yosys

from .fit import digest_of_points, fit_points, misses, residuals, summarize, write_fit
from .points import choose_points
from .report import TABLE, write_report
from .synthesize import emitted, read_points, update_points

JUDGED = ("held out", "size", "precision")


def main(arguments: list[str]) -> int:
    """Do it; return the exit code."""
    warnings.simplefilter("ignore", UnusedElaboratable)
    points = choose_points()
    if "--stale" in arguments:
        digests = {known["command"]: known["digest"] for known in read_points()}
        for point in points:
            if digests.get(point.command) != emitted(point)[1].digest:
                print(point.command)
        return 0
    yosys = find_full_yosys(None)
    known = update_points(points, yosys, lambda line: print(line, flush=True))
    pairs = list(zip(points, known, strict=True))
    fit = Fit(
        factors=fit_points(pairs),
        n_points=len(points),
        points=digest_of_points(),
        date=max(of["date"] for of in known),
        yosys=yosys.version,
        errors={},
    )
    found = list(residuals(pairs, fit))
    judged = [residual for residual in found if residual.group in JUDGED]
    fit = Fit(**{**vars(fit), "errors": summarize(judged)})
    write_fit(fit)
    write_report(found, fit)
    print(TABLE.read_text())
    for miss in misses(judged):
        print(f"MISSED: {miss}")
    return 1 if misses(judged) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
