"""A ledger that goes from one database to another."""

from __future__ import annotations

import io
import json
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import at, count, running, sql, submitted
from moves import exported, furnish, imported, rows, sealed, with_row
from pooler import Pooler

from tracker import clock
from tracker.databases import postgres as server
from tracker.errors import DatabaseError, Impossible, UsageError
from tracker.moving import files
from tracker.moving.exporting import export_ledger
from tracker.moving.lines import canonical
from tracker.schema import moving
from tracker.store import Store, open_store


@pytest.fixture
def other(store, tmp_path, request):
    """An empty ledger on the database that `store` is not on."""
    if store.database.dialect == "postgres":
        with closing(open_store(tmp_path / "other.db")) as found:
            yield found
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.create(request.getfixturevalue("template"))
    with closing(Store(server.Database(url))) as found:
        yield found
    postgres.drop(url)


@pytest.fixture
def third(tmp_path):
    """One more empty ledger, in a file."""
    with closing(open_store(tmp_path / "third.db")) as found:
        yield found


def untouched(store: Store) -> bool:
    """Whether a ledger holds nothing."""
    return not any(count(store, table) for table in moving.tables() if table != "meta")


def test_what_goes_along(store):
    """Every column of every table goes along, but for who polls here: a new table cannot be
    forgotten."""
    if store.database.dialect == "sqlite":
        found = store.database.read(
            "SELECT t.name, c.name FROM pragma_table_list AS t, pragma_table_info(t.name) AS c "
            "WHERE t.type = 'table' AND t.name NOT LIKE '%sqlite%' ORDER BY t.name, c.cid"
        )
    else:
        found = store.database.read(
            "SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a "
            "ON a.attrelid = c.oid WHERE c.relkind = 'r' AND a.attnum > 0 "
            "AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname, a.attnum"
        )
    there: dict[str, list[str]] = {}
    for table, column in found:
        there.setdefault(table, []).append(column)
    for stays in ("pollers", "event_counter", "tracker_migrations"):
        there.pop(stays, None)
    assert {name: list(one.columns) for name, one in moving.tables().items()} == there


def test_there_and_back(store, other, third):
    """Show 7: over another kind of database and back the same ledger is the same lines."""
    furnish(store)
    lines = exported(store)
    assert all(rows(lines, table) for table in moving.tables())
    held = imported(other, lines)
    again = exported(other)
    back = imported(third, again)
    assert again[1:-1] == lines[1:-1] == exported(third)[1:-1]
    assert held.ledger == back.ledger and held.rows == json.loads(lines[-1])["rows"]


def test_numbers_go_on(store, other):
    """What is recorded after an import gets numbers that were never given, also when the rows
    that had the last ones were gone before."""
    for _ in range(3):
        running(store)
    submitted(store)
    sql(store, "DELETE FROM processing_jobs WHERE id > 1")
    sql(store, "DELETE FROM operations")
    sql(store, "DELETE FROM job_events")
    imported(other, exported(store))
    submitted(other)
    assert other.database.read("SELECT max(id) FROM processing_jobs") == [(5,)]
    assert other.database.read("SELECT id FROM operations") == [(2,)]
    assert other.database.read("SELECT seq FROM job_events") == [(5,)]


def test_objects_get_new_numbers(store, other):
    """An object recorded after an import takes nobody's number."""
    furnish(store)
    imported(other, exported(store))
    before = {row[0] for row in other.database.read("SELECT id FROM objects")}
    columns = ("scheme", "key", "state", "created_at", "updated_at")
    sql(other, moving.insert("objects", columns), ["s3", "new", "present", at(0), at(0)])
    assert count(other, "objects") == len(before) + 1


def test_who_waits_is_told(store, connect, other):
    """Whoever watches a ledger for changes sees an import as one."""
    submitted(other)
    lines = exported(other)
    watching = connect()
    before = watching.change_count()
    imported(store, lines)
    assert watching.change_count() != before


def test_one_moment(store, connect):
    """What is written while an export is under way is not in it, and waits for nothing."""
    beside, running_before = connect(), [running(store) for _ in range(3)]

    class Pipe(io.BytesIO):
        def write(self, line):
            if not self.tell():
                running(beside), submitted(beside)
                sql(beside, "DELETE FROM processing_jobs WHERE local_id = ?", [running_before[0]])
            return super().write(line)

    pipe = Pipe()
    export_ledger(store.database, pipe)
    lines = pipe.getvalue().splitlines(keepends=True)
    assert [one["local_id"] for one in rows(lines, "processing_jobs")] == running_before
    assert rows(lines, "operations") == [] and json.loads(lines[0])["rows"]["job_events"] == 3
    assert count(store, "processing_jobs") == 4


def test_behind_a_pooler(third, postgres, template):
    """B10: a ledger goes in and out also where each transaction gets another connection."""
    furnish(third)
    lines = exported(third)
    url = postgres.create(template)
    pooler = Pooler(url, 2)
    with closing(open_store(pooler.url)) as store:
        imported(store, lines)
        assert exported(store)[1:-1] == lines[1:-1]
        running(store)  # what the import has set was its transaction's alone
    assert pooler.refused == []
    pooler.close()
    postgres.drop(url)


@pytest.mark.parametrize("name", ["ledger.jsonl", "ledger.jsonl.gz"])
def test_an_export_that_is_stopped(tmp_path, name):
    """Ctrl-C in the middle of an export leaves nothing behind; a whole one has its name and no
    other."""
    with pytest.raises(KeyboardInterrupt), files.writing(str(tmp_path / name)) as file:
        file.write(b"x" * 10**6)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with files.writing(str(tmp_path / name)) as file:
        file.write(b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.parametrize("table", ["processing_jobs", "poll_runs", "tombstones"])
def test_not_into_another_ledger(store, third, table):
    """A ledger that holds anything is not imported into, and stays as it is."""
    submitted(third)
    if table == "processing_jobs":
        submitted(store)
    elif table == "poll_runs":
        store.record_run("p", "poll", clock.now(), 1.0, polled=1, completed=0, failed=0, errors=0)
    else:
        sql(store, moving.insert(table, ("server_key", "deleted_at")), ["k", at(0)])
    before = exported(store)[1:-1]  # the first line tells the time
    with pytest.raises(Impossible, match=f"is not empty: it has {table}"):
        imported(store, exported(third))
    assert exported(store)[1:-1] == before


def damaged(lines):
    """These lines with each kind of damage."""
    head, body, end = lines[0], lines[1:-1], lines[-1]
    middle = len(body) // 2
    return {
        "nothing": [],
        "no end": lines[:-1],
        "half an end": [*lines[:-1], end[:50]],
        "no last newline": [*lines[:-1], end[:-1]],
        "half a row": [head, *body[:middle], body[middle][:20]],
        "a row less": [head, *body[1:], end],
        "a row twice": [head, body[0], *body, end],
        "rows in another order": [head, *body[::-1], end],
        "a flipped byte": [head, body[0].replace(b'"docs"', b'"dokr"', 1), *body[1:], end],
        "another time": [head.replace(b'"exported_at":"2', b'"exported_at":"1', 1), *body, end],
        "another sum": [head, *body, end.replace(b"a", b"b", 1)],
        "two headers": [head, head, *body, end],
        "two ends": [*lines, end],
        "two exports": [*lines, *lines],
        "no header": [*body, end],
        "blank line": [head, b"\n", *body, end],
        "no JSON": [head, b"\xff\x00\n", *body, end],
        "deep JSON": [head, b"[" * 100_000 + b"\n", *body, end],
        "another format": [head.replace(b'export":1', b'export":2'), *body, end],
        "another schema": [head.replace(b'schema":"0', b'schema":"9'), *body, end],
        "an unknown table": sealed([head, b'{"table":"users","row":{}}\n', *body, end]),
        "pollers": sealed([head, b'{"table":"pollers","row":{"id":"p"}}\n', *body, end]),
        "an unknown column": with_row(lines, "processing_jobs", lambda row: row.update(x=1)),
        "a column less": with_row(lines, "processing_jobs", lambda row: row.pop("local_id")),
        "an unknown status": with_row(lines, "processing_jobs", lambda row: row.update(status="")),
        "no base64": with_row(lines, "contents", lambda row: row.update(body="!")),
        "a list": with_row(lines, "processing_jobs", lambda row: row.update(user_id=[1])),
        "too large": with_row(lines, "processing_jobs", lambda row: row.update(version=2**70)),
        "no such counter": with_row(lines, "counters", lambda row: row.update(name="jobs")),
        "the layout": with_row(lines, "meta", lambda row: row.update(key="min_program")),
    }


def test_a_damaged_file(store, third):
    """A file that is not what was exported, or not for these tables, imports nothing: one error
    that names the file."""
    running(third), submitted(third)
    kept = {"local_id": "j", "role": "result", "id": "c", "size": 2, "sha256": "ab"}
    kept |= {"body": b"\0\1", "created_at": at(0)}
    sql(third, moving.insert("contents", tuple(kept)), list(kept.values()))
    lines = exported(third)
    for name, bad in damaged(lines).items():
        assert bad != lines, name
        with pytest.raises((UsageError, DatabaseError)) as error:
            imported(store, bad)
        assert "ledger.jsonl" in str(error.value) or "would not hold" in str(error.value), name
        assert untouched(store), name
    imported(store, lines)
    assert exported(store)[1:-1] == lines[1:-1]


def test_counters_below_their_rows(store, third):
    """A file whose counters would give a number twice is refused, however well it is sealed."""
    running(third), running(third)
    lines = exported(third)
    for low in [row["name"] for row in rows(lines, "counters") if row["last"]]:
        changed = [
            line.replace(b'"last":2', b'"last":1') if f'"name":"{low}"'.encode() in line else line
            for line in lines
        ]
        assert changed != lines
        with pytest.raises(DatabaseError, match="would not hold what it was given: counters"):
            imported(store, sealed(changed))
        assert untouched(store)


def test_tables_of_a_newer_program(store):
    """A ledger whose tables a newer program has changed is not exported: what it added would be
    missing."""
    table, more = (
        ("_sqlite_migrations", "'tracker', '9999_more', '2026'")
        if store.database.dialect == "sqlite"
        else ("tracker_migrations", "'9999_more', now()")
    )
    columns = "migration_set, name, applied_at" if table[0] == "_" else "name, applied_at"
    sql(store, f"INSERT INTO {table} ({columns}) VALUES ({more})")
    with pytest.raises(DatabaseError, match="has had 9999_more"):
        exported(store)


def test_what_a_server_cannot_keep(store, third):
    """NUL, which services may send, is refused by a server, with the line, or replaced on demand;
    a file keeps it. Text that only looks like it is kept by both."""
    running(third, payload={"a\0": "b\0", "z": "\\u0000"})
    sql(third, "UPDATE processing_jobs SET error_message = 'x' || char(0) || 'y'")
    lines = exported(third)
    if store.database.dialect == "sqlite":
        imported(store, lines)
        assert exported(store)[1:-1] == lines[1:-1]
        return
    with pytest.raises(UsageError, match="line 2: processing_jobs holds the character NUL"):
        imported(store, lines)
    assert untouched(store)
    imported(store, lines, replace_nul=True)
    [row] = rows(exported(store), "processing_jobs")
    assert row["error_message"] == "x\ufffdy"
    assert json.loads(row["payload"]) == {"a\ufffd": "b\ufffd", "z": "\\u0000"}


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a":', '"\\ud800"', "[" * 3000])
def test_what_is_no_json(store, third, text):
    """What somebody wrote into a column of JSON goes along between files as it is; a server
    refuses it."""
    running(third)
    sql(third, "UPDATE processing_jobs SET vars = ?", [text])
    if store.database.dialect == "sqlite":
        imported(store, exported(third))
        assert store.database.read("SELECT vars FROM processing_jobs") == [(text,)]
        return
    with pytest.raises(UsageError, match="cannot hold"):
        imported(store, exported(third))
    assert untouched(store)


def test_times_written_by_hand(third, store):
    """A time in another form than the ledger's, which a person may have written, is that time."""
    running(third)
    sql(third, "UPDATE processing_jobs SET next_poll_at = '2026-01-31 08:15:00'")
    imported(store, exported(third))
    found = store.database.read("SELECT next_poll_at FROM processing_jobs")
    assert found == [("2026-01-31T08:15:00.000Z",)]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(JSON, st.floats(allow_nan=False, width=64)), min_size=1, max_size=8))
def test_any_values(store, other, values):
    """Whatever JSON and figures a ledger holds, the other database gives the same lines for them,
    and what was read as JSON is equal."""
    for one in (store, other):
        for table in (*moving.tables(), "pollers"):
            sql(one, f"DELETE FROM {table}" + (" WHERE key <> 'min_program'" * (table == "meta")))
    for number, (document, figure) in enumerate(values):
        text = json.dumps({"value": document}, ensure_ascii=number % 2 == 0)
        running(store, local_id=f"job-{number}")
        sql(store, "UPDATE processing_jobs SET payload = ?, progress = ? WHERE local_id = ?",
            [text, figure, f"job-{number}"])  # fmt: skip
    lines = exported(store)
    imported(other, lines)
    assert exported(other)[1:-1] == lines[1:-1]
    for row, (document, _) in zip(rows(lines, "processing_jobs"), values, strict=True):
        found = json.loads(row["payload"], parse_int=float)  # 1e16 is 10000000000000000
        assert found == json.loads(json.dumps({"value": document}), parse_int=float)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('{"b": 1, "a": 2}', '{"a":2,"b":1}'),
        ('{"a": 1, "a": 2}', '{"a":2}'),
        ('{"a": 1e16}', '{"a":10000000000000000}'),
        ('{"a": 1.50}', '{"a":1.50}'),
        ('{"a": -0.0}', '{"a":0.0}'),
        ('{"a": "\\u00e9\\u0000 1.5"}', '{"a":"é\\u0000 1.5"}'),
        ('{"a": 1e999999999}', '{"a": 1e999999999}'),
        ("{}", "{}"),
    ],
)
def test_one_form_of_json(text, same):
    """JSON has one form, that of what PostgreSQL gives back: and that form is its own."""
    assert canonical(text) == same == canonical(same)
