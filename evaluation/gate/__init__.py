"""What a policy must show before it is served: named checks, and the moves of @champion."""
