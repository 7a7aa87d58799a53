"""SQL models downstream of the entities: plain files in `dbt_like_sql/`."""
