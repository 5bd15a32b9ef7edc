"""How a run is shown: verdict + recording -> terminal, HTML, JSON, and the live view while it goes on.

Everything here reads and writes text; nothing measures, judges, or touches a host. A recording may come from somebody
else, so every string in it is data: shown as it stands, never run, never read as markup.

    wording    how a number, a unit, a time or a dose is said; the same words on every surface
    marks      where on the time axis the faults, their release and the recovery lie
    sparkline  a series as one line of text          terminal   the verdict on one screen
    charts     a series as inline SVG                html       the verdict in one file that opens offline
    jsonout    the verdict as JSON                   progress   the live view
"""
