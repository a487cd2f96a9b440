"""How much an owner may hold and who is next: a call, a message or a step comes in, and its turn goes out."""
