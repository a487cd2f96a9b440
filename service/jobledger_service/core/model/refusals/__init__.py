"""Why a request is refused: one class for each reason."""
