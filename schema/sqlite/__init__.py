"""The ledger on SQLite: tables, migrations, statements."""
