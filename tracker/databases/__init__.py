"""How a ledger is reached: connect, transaction, execute, wait for a change."""
