"""Pure: a recording goes in, figures and a verdict come out. No host, no network, no clock."""
