-- materialized: view
-- description: Departures with the weather at their origin in that hour.
SELECT
    f.origin,
    f.dest,
    f.time_hour,
    f.dep_delay,
    w.wind_speed,
    w.visib,
    w.precip
FROM demo.flights AS f
JOIN demo.weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
WHERE NOT f._bridge_deleted AND NOT w._bridge_deleted
