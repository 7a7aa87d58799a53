-- materialized: table
-- description: How punctual each airline left New York, by month.
-- unique: carrier, month
-- not_null: airline, flights
SELECT
    f.carrier,
    a.name AS airline,
    f.month,
    count(*) AS flights,
    count(*) FILTER (WHERE f.dep_time IS NULL) AS cancelled,
    round(avg(f.dep_delay)::numeric, 1) AS mean_departure_delay_minutes
FROM demo.flights AS f
JOIN demo.airlines AS a ON a.carrier = f.carrier
WHERE NOT f._bridge_deleted AND NOT a._bridge_deleted
GROUP BY f.carrier, a.name, f.month
