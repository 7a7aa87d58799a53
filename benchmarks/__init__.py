"""`make bench`: what our syncs cost beside a hand-written floor and stock dlt, measured in the same run."""
