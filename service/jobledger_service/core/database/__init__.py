"""The database: a URL comes in; transactions on a ledger of this version go out, and what their errors mean."""
