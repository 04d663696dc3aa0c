"""How a viewer is arranged when it opens: cameras and thoughts left, time series, what was said."""

from __future__ import annotations

import rerun as rr
import rerun.blueprint as rrb

from dualsys.spec import WorldSpec

# How what is no line is drawn.
STYLES = {"system1/asked": rr.SeriesPoints(colors=[255, 90, 90], markers="up", marker_sizes=6)}


def blueprint(spec: WorldSpec) -> rrb.Blueprint:
    """The arrangement for a world; the paths are those of `dualsys.view.picture`."""
    cameras = [rrb.Spatial2DView(origin=f"cameras/{c.name}", name=c.name) for c in spec.cameras]
    seen = [
        rrb.Spatial2DView(origin=f"thought/seen/{c.name}", name=f"{c.name}, as System 2 saw it")
        for c in spec.cameras
    ]
    thoughts = rrb.Vertical(
        rrb.TextDocumentView(origin="thought/answers", name="answers"),
        rrb.BarChartView(origin="thought/values", name="candidates' values"),
        row_shares=[2, 1],
    )
    series = rrb.Vertical(
        rrb.TimeSeriesView(
            name="uncertainty, and when System 2 was asked",
            contents=["system1/uncertainty", "system1/spread", "system1/asked"],
        ),
        rrb.TimeSeriesView(name="guidance", contents=["guidance/age_s", "guidance/value"]),
        rrb.TimeSeriesView(origin="command", name="commands: sent, wanted, the expert's"),
        rrb.TimeSeriesView(origin="latency", name="latency"),
        rrb.Tabs(
            rrb.TimeSeriesView(origin="drops", name="drops and interventions"),
            rrb.TimeSeriesView(origin="health", name="stages"),
            rrb.TimeSeriesView(origin="plant", name="plant"),
        ),
    )
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(rrb.Grid(*cameras), rrb.Grid(*seen), thoughts),
            rrb.Vertical(series, rrb.TextLogView(origin="log", name="what was said"),
                         row_shares=[4, 1]),
            column_shares=[1, 2],
        ),
        rrb.TimePanel(state="collapsed", timeline="run"),
        collapse_panels=True,
    )  # fmt: skip
