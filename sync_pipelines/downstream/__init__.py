"""SQL models downstream of the entities: plain files in the folder SYNC_PIPELINES_MODELS (`dbt_like_sql/`)."""
