//! The only SQL and the only blob files: named transactions, leases, outbox, audit inside the transaction.
