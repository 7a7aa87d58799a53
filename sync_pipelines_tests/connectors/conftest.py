"""The sources of the four shipped connectors."""

from __future__ import annotations

import pytest

from sync_pipelines.demo.twin.rest import RestEndpoint


@pytest.fixture
def valiant(declared, monkeypatch):
    monkeypatch.setenv("VALIANT_API_KEY", "valiant-canary-key")
    declared.rest.api_key = "valiant-canary-key"
    people = [
        {
            "id": n,
            "name": f"user {n}",
            "email": f"u{n}@example.com",
            "created_at": "2024-06-30T10:00:00Z",
        }
        for n in range(1, 26)
    ]
    declared.rest.add(
        RestEndpoint("/users", people, paging="page", auth="api_key_header", max_size=10_000)
    )
    return declared


@pytest.fixture
def processgit(declared, monkeypatch):
    monkeypatch.setenv("API_TOKEN", declared.server.token)
    records = [
        {
            "external_id": f"C-{n}",
            "full_name": f"Customer {n}",
            "contact_email": f"c{n}@example.com",
            "created_date": f"2024-01-{n:02d}T08:00:00Z",
            "record_type": "customer",
            "quality_score": 90,
            "remark": None,
        }
        for n in range(1, 13)
    ]
    declared.rest.add(
        RestEndpoint("/api/v1/data", records, key="external_id", paging="page", envelope="data")
    )
    declared.rest.add(RestEndpoint("/api/v1/data/{id}", records, key="external_id"))
    declared.apply_shipped("processgit")
    return declared


@pytest.fixture
def randomuser(declared):
    declared.rest.add(RestEndpoint("/api/", paging="people", auth="none"))
    return declared


@pytest.fixture
def crm(declared, monkeypatch):
    monkeypatch.setenv("USER_SYNC_TOKEN", declared.server.token)
    records = [
        {
            "id": n,
            "full_name": f"User {n}",
            "email_address": f"u{n}@example.com",
            "mobile": f"+1 {n}",
            "company": "Acme",
            "updated_at": f"2024-06-30T10:{n // 60:02d}:{n % 60:02d}Z",
        }
        for n in range(1, 151)
    ]
    declared.rest.add(RestEndpoint("/api/users/{id}", records, since=("since", "updated_at")))
    return declared
