"""Nobody harms anybody else: the guarantees of isolation, each with a second owner beside the attack."""
