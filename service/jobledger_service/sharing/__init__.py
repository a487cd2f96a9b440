"""How much may wait (`shares`), who is next (`turns`), and both for what comes free (`places`), by owner."""
