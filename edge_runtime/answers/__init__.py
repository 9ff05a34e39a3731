"""Who answers a frame, whose answer is taken of several, when, and what the answer says."""
