"""The basis: the attributed ledger entries and the periods they fall into."""
