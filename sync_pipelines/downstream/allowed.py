"""What a SQL model may contain: one SELECT that reads, with functions that compute and do nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

# Functions of PostgreSQL that only compute; sqlglot knows most others by a class for each.
_NAMES = """
abs acos acosd acosh age any_value array array_agg array_append array_cat array_dims array_fill array_length
array_lower array_ndims array_position array_positions array_prepend array_remove array_replace array_to_json
array_to_string array_upper ascii asin asind asinh atan atan2 atan2d atand atanh avg bit_and bit_count bit_length
bit_or bit_xor bool_and bool_or btrim cardinality cbrt ceil ceiling char_length character_length chr coalesce concat
concat_ws convert_from convert_to corr cos cosd cosh cot cotd count covar_pop covar_samp cume_dist current_date
current_time current_timestamp date date_add date_bin date_part date_subtract date_trunc daterange decode degrees
dense_rank div encode erf erfc every exp extract factorial first_value floor format gcd generate_series
generate_subscripts greatest grouping host hypothetical_set initcap int4range int8range isempty isfinite json_agg
json_array json_array_elements json_array_elements_text json_array_length json_arrayagg json_build_array
json_build_object json_each json_each_text json_exists json_extract_path json_extract_path_text json_object
json_object_agg json_object_keys json_objectagg json_query json_scalar json_strip_nulls json_to_record
json_to_recordset json_typeof json_value jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length
jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text
jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query
jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_to_record
jsonb_to_recordset jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm lead least left
length ln localtime localtimestamp log log10 lower lower_inc lower_inf lpad ltrim make_date make_interval make_time
make_timestamp make_timestamptz masklen max md5 min min_scale mod mode multirange netmask network normalize now
nth_value ntile nullif num_nonnulls num_nulls numrange octet_length overlay parse_ident percent_rank percentile_cont
percentile_disc phraseto_tsquery pi plainto_tsquery position power quote_ident quote_literal quote_nullable radians
range_agg range_intersect_agg range_merge rank regexp_count regexp_instr regexp_like regexp_match regexp_matches
regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count
regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace reverse right round row row_number
row_to_json rpad rtrim scale sha224 sha256 sha384 sha512 sign sin sind sinh split_part sqrt starts_with
statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array string_to_table strpos substr substring
sum tan tand tanh timezone to_char to_date to_hex to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector
translate trim trim_array trim_scale trunc ts_headline ts_rank ts_rank_cd tsrange tstzrange tsvector_to_array unistr
unnest upper upper_inc upper_inf var_pop var_samp variance websearch_to_tsquery width_bucket xmlagg xmlconcat
xmlelement xmlforest
"""
_COMPUTING = frozenset(_NAMES.split())
# Operators and syntax that sqlglot keeps as functions.
_SYNTAX = (
    exp.Binary,
    exp.Case,
    exp.Cast,
    exp.TryCast,
    exp.Exists,
    exp.If,
    exp.Interval,
    exp.AtTimeZone,
    exp.ParameterizedAgg,
)
_FORBIDDEN = (
    (exp.DML, "changes data"),
    (exp.DDL, "changes the database"),
    (exp.Command, "is a command"),
    (exp.Into, "writes a table (SELECT INTO)"),
    (exp.Lock, "locks rows (FOR UPDATE, FOR SHARE)"),
    (exp.Parameter, "has a parameter"),
    (exp.Placeholder, "has a parameter"),
)


def why_not(tree: exp.Expr) -> Iterator[str]:
    """What a parsed statement has that a model may not have."""
    if not isinstance(tree, exp.Query):
        yield "a model is one SELECT"
        return
    for node in tree.walk():
        for kind, what in _FORBIDDEN:
            if isinstance(node, kind) and not isinstance(node, exp.Query):
                yield f"a model is one SELECT that reads; it {what}"
        if isinstance(node, exp.Func) and not isinstance(node, _SYNTAX):
            yield from _function(node)


def _function(node: exp.Func) -> Iterator[str]:
    dot = node.parent
    qualifier = dot.this.name if isinstance(dot, exp.Dot) and dot.expression is node else None
    is_unknown = isinstance(node, exp.Anonymous | exp.AnonymousAggFunc)
    written = node.name if is_unknown else _written_name(node)
    name = written.lower()
    if qualifier is not None and qualifier.lower() != "pg_catalog":
        yield f"the function {qualifier}.{name} is not one of those that only compute"
    elif name not in _COMPUTING:
        yield f"the function {name} is not one of those that only compute"


def _written_name(node: exp.Func) -> str:
    """The name of a function in PostgreSQL, as sqlglot writes it again."""
    text = node.sql("postgres").strip()
    before, bracket, _ = text.partition("(")
    head = before.strip().split(" ")[0]
    is_call = bool(bracket) and head.replace("_", "").isalnum()
    if is_call or head.upper().startswith("CURRENT_"):
        return head
    return node.sql_name()
